"""What candidates are compared by; less is better."""

import math
from collections.abc import Sequence

from ..records import Candidate


def size_of(candidate: Candidate) -> int:
    """Parameters without the embedding table; of an older record, with it."""
    body = candidate.num_body_parameters
    return candidate.num_parameters if body is None else body


def num_layers(candidate: Candidate) -> int:
    """Layers of all stacks of an architecture."""
    return sum(len(value) for _, value in candidate.arch if isinstance(value, tuple))


def loss_alone(candidate: Candidate) -> float:
    """What a rise of the loss is a share of: without what the time of training steps counts for."""
    return abs(candidate.loss - (candidate.time_loss or 0.0))


def inherited_quality(candidate: Candidate) -> tuple[float, int, int]:
    """The inherited loss; of a candidate that is deeper or wider than one that was found, the loss
    of that one, before which it comes, the deepest first, of these the widest.
    """
    if candidate.narrow_loss is None:
        return candidate.loss, 0, 0
    return candidate.narrow_loss, -num_layers(candidate), -size_of(candidate)


def quality(candidate: Candidate) -> tuple[float, float, int, int]:
    """The loss after some training alone, of those that had it; then what is inherited."""
    trained = candidate.trained_loss
    return (math.inf if trained is None else trained, *inherited_quality(candidate))


def best_first(candidates: Sequence[Candidate]) -> list[int]:
    """Positions of candidates by what they inherit, the best first; those that had some training
    alone share out their places among themselves by what it led to.
    """
    by_inherited = sorted(range(len(candidates)), key=lambda i: inherited_quality(candidates[i]))
    trained = [i for i in by_inherited if candidates[i].trained_loss is not None]
    in_turn = iter(sorted(trained, key=lambda i: quality(candidates[i])))
    return [next(in_turn) if i in trained else i for i in by_inherited]
