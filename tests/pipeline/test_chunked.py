"""Answers a part at a time are the answers at once."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from walking import KeptProgress

from mosdeploy.family import ScoredExamples
from mosdeploy.pipeline import chunked
from mosdeploy.pipeline.chunked import in_chunks, opened_in_chunks, scored_in_chunks


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "CHUNK", 2)


INPUTS = [[1], [1, 2, 3], [], [4, 5], [7, 8, 9, 10]]


def sums(inputs: list[list[int]]) -> list[int]:
    return [sum(ids) for ids in inputs]


def test_answers_keep_their_order_and_parts_are_of_like_length() -> None:
    told: list[tuple[int, int]] = []
    parts: list[list[int]] = []

    def answer(inputs: list[list[int]]) -> list[int]:
        parts.append([len(ids) for ids in inputs])
        return sums(inputs)

    assert in_chunks(answer, lambda *x: told.append(x))(INPUTS) == sums(INPUTS)
    assert parts == [[4, 3], [2, 1], [0]]
    assert told == [(2, 5), (4, 5)]


def test_examples_are_scored_as_at_once() -> None:
    examples = ScoredExamples(
        inputs=[""] * len(INPUTS),
        input_ids=INPUTS,
        predict=lambda subnet, inputs: [subnet + x for x in sums(inputs)],
        decode=str,
        metrics=lambda outputs: {"first": float(outputs[0]), "all": sum(map(float, outputs))},
        metric="first",
        setup="",
    )
    told: list[tuple[int, int]] = []
    found = scored_in_chunks(examples, lambda *x: told.append(x)).evaluate(100)
    assert found == examples.evaluate(100) == {"first": 101.0, "all": 550.0}
    assert len(told) == 2


def test_a_bundle_tells_how_far_it_is() -> None:
    progress = KeptProgress()
    model = cast("Any", SimpleNamespace(predict_ids=sums))
    opened = opened_in_chunks(lambda folder, threads: model, progress)(Path("bundle"))
    assert opened.predict_ids(INPUTS) == sums(INPUTS)
    assert opened.predict_ids([[3]]) == [3]
    assert progress.updates == [("answer with the bundle", "")] * 2
