"""Which examples a bundle answers again wherever it is."""

from collections.abc import Iterator

from ..errors import ExportError
from ..records import SelfTest
from ..runtime.manifest import MAX_LENGTH, MAX_TEXT_LENGTH
from .parity import ParityExamples, PredictsIds

NUM_SELF_TESTS = 3


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
