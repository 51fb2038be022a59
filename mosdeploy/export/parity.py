"""Does the exported model answer as the trained network does, and what must it answer elsewhere?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..config.sections import ExportConfig
from ..errors import ExportError
from ..records import ParityReport, SelfTest
from ..runtime.manifest import MAX_LENGTH, MAX_TEXT_LENGTH
from ..runtime.self_test import MIN_AGREEMENT, NO_SCALE, Answer, Scale, is_same, mean_likeness
from ..spaces.spec import Precision

SCORE_TOLERANCE = 1e-4
"""Between scores in torch and of the exported model, on one machine, in fp32."""
NUM_SELF_TESTS = 3
MOST_SHOWN = 100
"""Characters of a text that an error names."""


class PredictsIds(Protocol):
    """The model of a bundle, opened."""

    @property
    def tokenizer(self) -> Any:
        """Its `encode` gives the ids of a text."""

    def predict_ids(self, inputs: list[list[int]], /) -> Sequence[Answer]:
        """Answers to inputs, as token ids or scores, in the order given."""


@dataclass(frozen=True)
class Shortcut:
    """What makes answers faster by leaving something out, in torch as in the model."""

    name: str
    exact: Callable[..., Sequence[Answer]]
    max_drop: float
    advice: str


@dataclass(frozen=True)
class ParityExamples:
    """Validation examples, and how to answer, spell and score them."""

    inputs: Sequence[str]
    input_ids: Sequence[Sequence[int]]
    reference: Callable[[list[list[int]]], Sequence[Answer]]
    decode: Callable[[Answer], str]
    score: Callable[[list[str]], float]
    metric: str
    shortcut: Shortcut | None = None

    def score_answers(self, answers: Sequence[Answer]) -> float:
        """The metric of answers to all examples."""
        return self.score([self.decode(answer) for answer in answers])


def check_tokenizer(model: PredictsIds, examples: ParityExamples) -> None:
    """Make sure that the bundle's tokenizer gives the ids that the examples are answered with: a
    model that is right, given other ids, answers another text.
    """
    # a text of any length: only what stands in a manifest has a limit
    for text, ids in zip(examples.inputs, examples.input_ids, strict=True):
        found = list(model.tokenizer.encode(text))
        if found != list(ids):
            raise ExportError(
                f"the bundle's tokenizer splits {text[:MOST_SHOWN]!r} differently from that of the "
                f"training: from token {_first_difference(found, ids)}. "
                "No bundle was written; please report this with the text and the tokenizer's file"
            )


def _first_difference(found: Answer, wanted: Answer, tolerance: float = 0.0) -> str:
    """Where two answers differ first, counted from one, and the five numbers there."""
    # as whole answers are compared: the tolerance grows with the second number
    is_other = [not is_same([b], [a], tolerance) for a, b in zip(found, wanted, strict=False)]
    # where one of them ends earlier, and nothing differs before: its end
    i = is_other.index(True) if any(is_other) else len(is_other)
    told = [", ".join(f"{x:.7g}" for x in answer[i : i + 5]) for answer in (found, wanted)]
    return f"{i + 1} on [{told[0]}], not [{told[1]}]"


def check_parity(
    model: PredictsIds,
    examples: ParityExamples,
    limits: ExportConfig,
    precision: Precision,
    scale: Scale = NO_SCALE,
) -> ParityReport:
    """Answer the examples in torch and with the model, and compare."""
    expected = examples.reference([list(ids) for ids in examples.input_ids])
    found = model.predict_ids([list(ids) for ids in examples.input_ids])
    pairs = list(zip(expected, found, strict=True))
    if precision == "fp32":
        # not by their text: the last digits of a number may differ
        same = [is_same(a, b, SCORE_TOLERANCE * scale.spread) for a, b in pairs]
    else:
        same = [examples.decode(a) == examples.decode(b) for a, b in pairs]
    exact_score = _check_shortcut(examples, expected)
    report = ParityReport(
        metric=examples.metric,
        num_examples=len(same),
        identical=sum(same),
        torch_score=examples.score_answers(expected),
        bundle_score=examples.score_answers(found),
        exact_score=exact_score,
    )
    if precision == "fp32" and not all(same):
        first = same.index(False)
        where = _first_difference(found[first], expected[first], SCORE_TOLERANCE * scale.spread)
        raise ExportError(
            f"the exported model answers {len(same) - sum(same)} of {len(same)} validation "
            f"examples differently from torch; the first is "
            f"{examples.inputs[first][:MOST_SHOWN]!r}, from number {where}. "
            "No bundle was written; please report this with the architecture"
        )
    drop = report.torch_score - report.bundle_score
    if not is_within(drop, limits.max_score_drop):
        raise ExportError(
            f"{precision} costs {drop:.2f} {report.metric} on {len(same)} validation examples "
            f"({report.torch_score:.2f} in torch, {report.bundle_score:.2f} in the model), "
            f"at most {limits.max_score_drop:g} is allowed. "
            "No bundle was written; raise export.max_score_drop, or export fp32"
        )
    if precision != "fp32":
        likeness = mean_likeness(found, expected, scale)
        least = least_likeness(report.torch_score, limits.max_score_drop)
        if likeness < least:
            raise ExportError(
                f"{precision} answers agree to {likeness:.2f} with torch's on {len(expected)} "
                f"validation examples; {least:g} is needed where torch has "
                f"{report.torch_score:.2f} {examples.metric} and {limits.max_score_drop:g} may be "
                "lost. "
                "No bundle was written; export fp32, or train longer or on other examples"
            )
    return report


def least_likeness(torch_score: float, max_score_drop: float) -> float:
    """How like torch's the answers of a quantised model have to be, in parts of one: as in a
    self-test where the metric cannot fall by more than is allowed, since the worst answers are
    worth about 0; half of that where it can, for these may be worth a little more than 0.
    """
    can_fall = torch_score > max_score_drop
    most = MIN_AGREEMENT / 2 if can_fall else MIN_AGREEMENT
    return min(most, max(0.0, 1 - max_score_drop / 100))


def is_within(drop: float, allowed: float) -> bool:
    """Whether a score falls by what is allowed at most."""
    return drop <= allowed + 1e-9


def _check_shortcut(examples: ParityExamples, expected: Sequence[Answer]) -> float | None:
    """The score without the shortcut, if there is one; ExportError if it costs too much."""
    shortcut = examples.shortcut
    if shortcut is None:
        return None
    exact = examples.score_answers(shortcut.exact([list(ids) for ids in examples.input_ids]))
    found = examples.score_answers(expected)
    if not is_within(exact - found, shortcut.max_drop):
        raise ExportError(
            f"{shortcut.name} costs {exact - found:.2f} {examples.metric} on {len(expected)} "
            f"validation examples ({exact:.2f} without it, {found:.2f} with it, both in torch), at "
            f"most {shortcut.max_drop:g} is allowed. No bundle was written; {shortcut.advice}"
        )
    return exact


# -- the examples that a bundle answers again wherever it is --------------------------------------


def choose_self_tests(
    model: PredictsIds, examples: ParityExamples, max_bytes: int
) -> tuple[SelfTest, ...]:
    """Examples of different length, and what the model answers to each alone; shorter or fewer ones
    where those are too large.
    """
    found: dict[int, SelfTest] = {}
    for i in _preferred([len(ids) for ids in examples.input_ids]):
        test = None if i in found else _self_test(model, examples, i)
        if test is not None and _written_bytes(test) <= max_bytes:
            found[i] = test
            max_bytes -= _written_bytes(test)
        if len(found) == NUM_SELF_TESTS:
            break
    if not found:
        raise ExportError(
            "no validation example is small enough for a bundle's self-test: of at most "
            f"{MAX_TEXT_LENGTH} characters, its answer too, and {max_bytes} bytes with all numbers "
            "of the answer; give the data a shorter one"
        )
    return tuple(found[i] for i in sorted(found))


def _preferred(lengths: list[int]) -> Iterator[int]:
    """The middle of each third by length, then the shortest ones."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    for k in range(NUM_SELF_TESTS):
        yield order[(2 * k + 1) * len(order) // (2 * NUM_SELF_TESTS)]
    yield from order[:NUM_SELF_TESTS]


def _self_test(model: PredictsIds, examples: ParityExamples, i: int) -> SelfTest | None:
    """One example; None if the runtime would not read it."""
    text = examples.inputs[i]
    input_ids = list(examples.input_ids[i])
    if len(text) > MAX_TEXT_LENGTH:
        # all that the model reads of it may stand further in front
        text = text[:MAX_TEXT_LENGTH]
        if list(model.tokenizer.encode(text)) != input_ids:
            return None
    answer = model.predict_ids([input_ids])[0]
    output = examples.decode(answer)
    if len(answer) > MAX_LENGTH or len(output) > MAX_TEXT_LENGTH:
        return None
    return SelfTest(input=text, input_ids=tuple(input_ids), answer=tuple(answer), output=output)


def _written_bytes(test: SelfTest) -> int:
    """Size in a manifest, where each line is four spaces further in and a comma may follow."""
    lines = test.model_dump_json(indent=2).encode().splitlines()
    return sum(len(line) + 5 for line in lines) + 1
