"""`export --precision auto`: the fastest precision on the device that is good enough."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from walking import PROTOCOL, KeptProgress, edit, opened

from mosdeploy.config.device import DeviceProfile
from mosdeploy.devices import measure
from mosdeploy.errors import ConfigError, ExportError
from mosdeploy.export.parity import ParityExamples
from mosdeploy.pipeline.exporting import precision
from mosdeploy.pipeline.exporting.export_job import ExportSource, parity_examples
from mosdeploy.pipeline.exporting.precision import PrecisionTask, _score, judge
from mosdeploy.records import Measurement, PrecisionCandidate, PrecisionChoice
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.subnets import select_subnet
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.spaces.translation import TranslationWorkload
from mosdeploy.storage import read_record, write_record


def weighed(*candidates: PrecisionCandidate) -> PrecisionChoice:
    return PrecisionChoice(
        device="rpi",
        workload=TranslationWorkload(),
        inputs_sha256="",
        metric="BLEU",
        max_score_drop=9.0,
        num_examples=10,
        torch_score=30.0,
        precision=None,
        candidates=candidates,
    )


FP32 = PrecisionCandidate(precision="fp32", latency_ms=100.0, score=30.0)
INT8 = PrecisionCandidate(precision="int8", latency_ms=40.0, score=29.75, likeness=0.9)
INT4 = PrecisionCandidate(precision="int4", latency_ms=20.0, score=29.5, likeness=0.9)
BROKEN = PrecisionCandidate(precision="int8-int4-logits", error="no kernel")


@pytest.mark.parametrize(
    ("max_score_drop", "expected", "verdicts"),
    [
        (0.5, "int4", ["slower", "slower", "chosen", "failed: no kernel"]),
        (0.3, "int8", ["slower", "chosen", "loses 0.50 BLEU, 0.3 allowed", "failed: no kernel"]),
        (
            0.0,
            "fp32",
            [
                "chosen",
                "loses 0.25 BLEU, 0 allowed",
                "loses 0.50 BLEU, 0 allowed",
                "failed: no kernel",
            ],
        ),
    ],
)
def test_the_fastest_that_keeps_the_limit(
    max_score_drop: float, expected: str, verdicts: list[str]
) -> None:
    choice = judge(weighed(FP32, INT8, INT4, BROKEN), max_score_drop)
    assert (choice.precision, choice.max_score_drop) == (expected, max_score_drop)
    assert [candidate.verdict for candidate in choice.candidates] == verdicts


def test_a_loss_of_just_what_is_allowed_is_taken_in_spite_of_rounding() -> None:
    score, torch_score = 100 * 639 / 1000, 100 * 644 / 1000
    assert torch_score - score > 0.5
    one = weighed(INT8.model_copy(update={"score": score}))
    assert judge(one.model_copy(update={"torch_score": torch_score}), 0.5).precision == "int8"
    better = weighed(INT8.model_copy(update={"score": 31.0}))
    assert judge(better, 0.0).precision == "int8"
    assert judge(weighed(INT4, BROKEN), 0.3).precision is None


@pytest.mark.parametrize(
    ("torch_score", "likeness", "expected", "verdict"),
    [
        (0.3, 0.19, "fp32", "agrees to 0.19 with torch, 0.8 needed"),
        (0.0, 0.19, "fp32", "agrees to 0.19 with torch, 0.8 needed"),
        (0.0, 0.8, "int8", "chosen"),
        # its fall tells more
        (0.4, 0.4, "int8", "chosen"),
        (0.4, 0.19, "fp32", "agrees to 0.19 with torch, 0.4 needed"),
        (0.4, None, "fp32", "agrees to 0.00 with torch, 0.4 needed"),
    ],
)
def test_answers_unlike_torchs_do_not_count_where_any_would_keep_the_limit(
    torch_score: float, likeness: float | None, expected: str, verdict: str
) -> None:
    exact = FP32.model_copy(update={"score": torch_score})
    quantized = INT8.model_copy(update={"score": 0.1 if torch_score else 0.0, "likeness": likeness})
    choice = weighed(exact, quantized).model_copy(update={"torch_score": torch_score})
    choice = judge(choice, 0.3)
    assert (choice.precision, choice.candidates[1].verdict) == (expected, verdict)
    # whoever says that all may be lost is believed
    assert judge(choice, 100.0).precision == "int8"


def test_scores_unlike_torchs_do_not_count_where_its_score_is_0(
    encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(open_run(encoder_folder))
    state = trained_run(context.run)
    chosen = select_subnet(state, state.config.space.smallest, "inherited")
    device = DeviceProfile(name="local", kind="local")
    workload = state.config.workload
    source = ExportSource(state, chosen, workload)
    task = PrecisionTask(context, source, device, state.config.export)
    kept = workload.model_copy(update={"padding": "kept"})
    padded = dataclasses.replace(source, workload=kept)
    assert dataclasses.replace(task, source=padded).precisions == ["fp32"]

    def worthless(*arguments: Any) -> ParityExamples:
        """No answer is worth anything, and torch's are the opposite."""
        made = parity_examples(*arguments)

        def opposite(inputs: list[list[int]]) -> list[list[float]]:
            return [[-x for x in row] for row in made.reference(inputs)]

        return dataclasses.replace(made, score=lambda texts: 0.0, reference=opposite)

    monkeypatch.setattr(precision, "parity_examples", worthless)
    timed = [x.model_copy(update={"score": None}) for x in (FP32, INT8)]
    nothing = weighed(*timed).model_copy(update={"num_examples": 0, "torch_score": 0.0})
    choice = judge(_score(task, nothing), 0.5)
    assert [(x.score, x.verdict) for x in choice.candidates] == [
        (0.0, "chosen"),
        (0.0, "agrees to 0.00 with torch, 0.8 needed"),
    ]
    # a run that goes on where another was killed has to ask torch again, as one does that holds
    # what was scored to another limit
    first, second = choice.candidates
    for left in ({"score": None, "likeness": None}, {"likeness": None}):
        rest = choice.model_copy(update={"candidates": (first, second.model_copy(update=left))})
        assert judge(_score(task, rest), 0.5) == choice


def use_device(root: Path, settings: str) -> None:
    text = (
        f'name = "local"\nkind = "local"\nwork_dir = "{root / "device"}"\n{settings}\n' + PROTOCOL
    )
    (root / "device_profiles" / "local.toml").write_text(text)


@pytest.mark.slow
def test_auto_measures_scores_and_exports_once(folder: Path) -> None:
    use_device(folder, 'precisions = ["fp32", "int8-int4-logits"]')
    progress = KeptProgress()
    result = opened(folder, progress).export("largest", precision="auto", max_score_drop=100.0)
    choice = result.precision_choice
    assert choice is not None
    assert choice.precision == result.manifest.precision
    exact, quantized = choice.candidates
    assert (exact.precision, quantized.precision) == ("fp32", "int8-int4-logits")
    assert all(x.latency_ms and x.size_bytes and x.score is not None for x in choice.candidates)
    assert quantized.size_bytes < exact.size_bytes
    assert (choice.metric, exact.score) == ("BLEU", choice.torch_score)
    assert choice.num_examples > 8
    told = sorted((stage, note.split(":")[0]) for stage, note in progress.updates)
    assert told == [
        (stage, x.precision) for stage in ("measure on local", "score") for x in choice.candidates
    ]
    (path,) = (folder / "precisions").iterdir()
    assert read_record(PrecisionChoice, path, "") == choice
    again = KeptProgress()
    repeated = opened(folder, again).export("largest", precision="auto", max_score_drop=100.0)
    assert (repeated.precision_choice, again.updates) == (choice, [])
    # a killed one leaves a whole model, which the next one removes
    left = folder / "bundles" / f".precision.{path.stem}.killed"
    left.mkdir()
    unscored = [x.model_copy(update={"score": None}) for x in choice.candidates]
    write_record(path, choice.model_copy(update={"candidates": tuple(unscored)}))
    opened(folder).export("largest", precision="auto", max_score_drop=100.0)
    assert read_record(PrecisionChoice, path, "") == choice
    assert not left.exists()
    # of another runtime the times count no more
    path.write_text(path.read_text().replace(str(choice.conditions["ONNX Runtime"]), "1.1"))
    stopped = KeptProgress(stop_at=1)
    with pytest.raises(KeyboardInterrupt):
        opened(folder, stopped).export("largest", precision="auto", max_score_drop=100.0)
    assert [stage for stage, _ in stopped.updates] == ["measure on local"]


def test_for_a_limit_on_the_tail_tails_are_compared(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_device(folder, 'precisions = ["fp32"]')
    edit(folder / "mosdeploy.toml", "[search]", '[search]\nstatistic = "p90"')
    times_ms: list[float] = []
    collect = measure.collect

    def watched(*arguments: Any) -> Iterator[tuple[str, Measurement]]:
        for key, measurement in collect(*arguments):
            assert measurement.total is not None
            times_ms.append(measurement.total.p90_ms)
            assert measurement.total.repeats >= 50  # of ten the p90 is nearly the longest
            yield key, measurement

    monkeypatch.setattr(measure, "collect", watched)
    choice = opened(folder).export("largest", precision="auto").precision_choice
    assert choice is not None
    assert (choice.statistic, [x.latency_ms for x in choice.candidates]) == ("p90", times_ms)


@pytest.mark.slow
def test_what_fails_on_the_device_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_device(folder, 'precisions = ["fp32"]')
    monkeypatch.setattr("mosdeploy.export.candidate.build_candidate", lambda *settings: b"no model")
    with pytest.raises(ExportError, match=r"no precision runs on local.*fp32: failed: "):
        opened(folder).export("largest", precision="auto")
    monkeypatch.undo()
    stopped = KeptProgress(stop_at=1)
    with pytest.raises(KeyboardInterrupt):  # it is timed once more
        opened(folder, stopped).export("largest", precision="auto")
    ((_, note),) = stopped.updates
    assert note.startswith("fp32: ") and note.endswith(" ms")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('precisions = ["int8-fp32-embedding"]', "this workload can have fp32, "),
        ("emulated = true", "emulated device"),
    ],
)
def test_a_device_that_cannot_choose_is_refused(folder: Path, settings: str, message: str) -> None:
    use_device(folder, settings)
    with pytest.raises(ConfigError, match=message):
        opened(folder).export("largest", precision="auto")
