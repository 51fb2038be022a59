"""Which of several precisions is taken, and why not the others."""

from ..records import PrecisionCandidate, PrecisionChoice


def decide(choice: PrecisionChoice, max_score_drop: float) -> PrecisionChoice:
    """Take the fastest whose score is at most `max_score_drop` below torch's, by the rule of the
    parity check; say why of each.
    """
    from ..export.parity import is_within, least_likeness

    least = least_likeness(choice.torch_score, max_score_drop)

    def drop(candidate: PrecisionCandidate) -> float:
        return choice.torch_score - (candidate.score or 0.0)

    timed = [x for x in choice.candidates if x.latency_ms is not None]
    within = [x for x in timed if is_within(drop(x), max_score_drop)]
    fit = [x for x in within if not needs_likeness(x) or (x.likeness or 0.0) >= least]
    best = min(fit, key=lambda x: x.latency_ms or 0.0, default=None)

    def verdict(candidate: PrecisionCandidate) -> str:
        if candidate is best:
            return "chosen"
        if candidate.latency_ms is None:
            return f"failed: {candidate.error}"
        if candidate in fit:
            return "slower"
        if candidate in within:
            return f"agrees to {candidate.likeness or 0.0:.2f} with torch, {least:g} needed"
        return f"loses {drop(candidate):.2f} {choice.metric}, {max_score_drop:g} allowed"

    judged = tuple(x.model_copy(update={"verdict": verdict(x)}) for x in choice.candidates)
    changes = {
        "candidates": judged,
        "precision": best and best.precision,
        "max_score_drop": max_score_drop,
    }
    return choice.model_copy(update=changes)


def needs_likeness(candidate: PrecisionCandidate) -> bool:
    """Whether the answers of a precision have to be like torch's, besides its score."""
    return candidate.precision != "fp32"
