"""Verbs about latency: profile, fit."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..config.device import DeviceProfile, load_profile
from ..errors import PredictorError
from ..records import PredictorCard
from ..spaces.genes import ArchConfig
from .collect import CollectResult, collect
from .predictors import fit_again, fitted
from .run import Progress, Run
from .summaries import ProfileSummary

FIRST_ROUND, ROUND = 10, 5
"""Subnets of the first and of each further round of a profile that stops at an error."""


def profile(
    run: Run,
    device: str | None,
    budget: int | None,
    ssh_config: Path,
    progress: Progress,
    until_error_percent: float | None = None,
    hosts: Sequence[str] = (),
) -> ProfileSummary:
    """Measure well-chosen subnets on a device, those that are not measured yet, and fit the
    predictor.

    Parameters
    ----------
    budget
        How many subnets are to be measured in all; None takes the config's.
    until_error_percent
        Measure in rounds, and stop when the predictor's mean relative error on held-out subnets is
        at most this twice in a row, for once may be luck. Subnets that the fit rejected do not
        count: more measuring mends no busy minute.
    hosts
        Aliases of boards of this kind, to measure on all at once; none for the one that the profile
        names.

    Raises
    ------
    ConfigError
        If `hosts` are no aliases or name a board twice, or the device is this machine.
    DeviceError
        If the device cannot be reached, lacks something, is busy, or the link is lost for good; of
        a fleet, if that is so of every board.
    StaleInputError
        If the measurements at hand are of another space, workload or device, or corrupt.
    PredictorError
        If an error is asked of an emulated device.
    """
    name = run.device_name(device)
    target = load_profile(name, run.workspace.root)
    chosen, path = _design(run, budget), run.workspace.latency_path(name, run.config.workload.name)
    rounds, reached = list[CollectResult](), list[bool]()
    for part in [chosen] if until_error_percent is None else _rounds(chosen, target):
        rounds.append(collect(run, target, part, path, ssh_config, progress, hosts))
        card = _card(run, name, progress)
        if until_error_percent is not None:
            reached.append(_reaches(card, until_error_percent, progress))
        if reached[-2:] == [True, True]:
            break
    return _summary(name, rounds, card, until_error_percent, reached[-1] if reached else None)


def fit(run: Run, device: str | None, source: str | None = None) -> PredictorCard:
    """Fit the latency predictor of a device to what was measured there.

    Parameters
    ----------
    source
        A device whose predictor is corrected by these measurements, if that beats the fit from
        scratch.

    Raises
    ------
    StaleInputError
        If nothing was measured, or the measurements are corrupt or of another space; or if `source`
        has no predictor.
    PredictorError
        If too few subnets were measured, or the device is emulated; or if `source` does not suit.
    """
    return fit_again(run, run.profiled_device_name(device), source).card


def _summary(
    device: str,
    rounds: Sequence[CollectResult],
    card: PredictorCard | None,
    until_error_percent: float | None,
    error_met: bool | None,
) -> ProfileSummary:
    dataset = rounds[-1].dataset
    return ProfileSummary(
        device=device,
        emulated=dataset.context.device.emulated,
        path=str(dataset.path),
        measured_now=sum(found.measured_now for found in rounds),
        num_records=len(dataset.measured),
        failed=len(dataset.measured) - len(dataset.usable),
        card=card,
        noise_floor_percent=dataset.noise_floor_percent,
        until_error_percent=until_error_percent,
        error_met=error_met,
        boards=dataset.boards,
        dropped={host: cause for found in rounds for host, cause in found.dropped.items()},
    )


def _design(run: Run, budget: int | None) -> list[ArchConfig]:
    from ..latency.design import choose

    config = run.config
    num_chosen, seed = budget or config.profile.budget, config.profile.seed
    return choose(config.space, config.workload, config.corpus.vocab_size, num_chosen, seed)


def _rounds(chosen: list[ArchConfig], target: DeviceProfile) -> Iterator[list[ArchConfig]]:
    """Growing parts of a design, ending with the whole; none for a device that no predictor is
    fitted to.
    """
    if target.emulated:
        raise PredictorError(
            f"{target.name} is an emulated device: its times mean nothing, so there is no error to reach"
        )
    yield from (chosen[:size] for size in range(FIRST_ROUND, len(chosen), ROUND))
    yield chosen


def _card(run: Run, device: str, progress: Progress) -> PredictorCard | None:
    """Card of the predictor, or None where there can be none yet; the reason is told."""
    try:
        return fitted(run, device).card
    except PredictorError as error:
        progress.say(f"no predictor yet: {error}")
        return None


def _reaches(card: PredictorCard | None, limit_percent: float, progress: Progress) -> bool:
    if card is None or card.trusted_mape_percent is None:
        return False
    progress.say(f"error {card.trusted_mape_percent:.2f}% from {card.num_samples} subnets")
    return card.trusted_mape_percent <= limit_percent
