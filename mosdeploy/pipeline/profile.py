"""The verb `profile`: measure a few well-chosen subnets on a device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..config import RunConfig
from ..config.device import DeviceProfile
from ..config.sections import MAX_BUDGET, MIN_BUDGET
from ..errors import ConfigError, DeviceError, PredictorError
from ..records import PredictorCard
from ..run_folder.context import Context
from ..run_folder.devices import run_profile
from ..run_folder.enough_measured import further_command, max_noise_percent, too_small
from ..run_folder.predictors import fitted
from ..run_folder.summaries import ProfileSummary
from ..spaces.genes import ArchConfig
from .measuring.collect import CollectRequest, CollectResult, collect, put_away

if TYPE_CHECKING:
    from ..latency.dataset import LatencyDataset

FIRST_PART = 10
PART = 5
"""Subnets of the first and of each further part of a profile that stops at an error."""


@dataclass(frozen=True)
class ProfileOptions:
    """What `profile` measures."""

    device: str | None = None
    budget: int | None = None
    until_error_percent: float | None = None
    hosts: tuple[str, ...] = ()
    renew: bool = False

    def __post_init__(self) -> None:
        if self.until_error_percent is not None and not 0 < self.until_error_percent < 100:
            raise ConfigError(
                f"until_error_percent is {self.until_error_percent}; it is a number between 0 and "
                "100"
            )


def profile(context: Context, options: ProfileOptions | None = None) -> ProfileSummary:
    """Measure well-chosen subnets on a device, those not measured yet, and fit the predictor."""
    options = options or ProfileOptions()
    context.check_checkpoint()
    name = context.run.device_name(options.device)
    target = run_profile(context.files.root, name)
    chosen = _design(context, options.budget)
    limit = options.until_error_percent
    if options.renew:
        _put_finalists_away(context, name)
    results: list[CollectResult] = []
    failed = set[str]()
    reached: list[bool] = []
    parts = [chosen] if limit is None else list(_parts(chosen, target, context.config))
    if limit is not None and len(parts) < 2:
        raise PredictorError(
            f"an error is judged from {FIRST_PART} subnets on and has to be reached twice in a "
            f"row, which takes a budget of {FIRST_PART + 1} or more; this one gives {len(chosen)} "
            f"of the {context.config.space.num_architectures:,} architectures of the space"
        )
    for part in parts:
        path = context.files.latency_path(name, context.config.workload.name)
        is_first = not results
        request = CollectRequest(
            target,
            # what failed in an earlier part may fail by its time-out again
            [arch for arch in part if arch.key not in failed],
            path,
            options.hosts,
            renew=options.renew and is_first,
            renew_noise=options.renew and is_first,
            look=is_first,
        )
        results.append(collect(context, request))
        dataset = results[-1].dataset
        failed = dataset.measured.keys() - {record.arch.key for record in dataset.usable}
        if limit is not None:
            reached.append(_reaches(context, results[-1].dataset, part, limit))
        if is_met := reached[-2:] == [True, True]:
            break
    check_any_timed(results[-1].dataset)
    card = _card(context, name)
    summary = _summary(results, card, limit, None if limit is None else is_met)
    # a predictor that is corrected from another device's takes fewer than one of its own
    further = further_command(results[-1].dataset, context.config) if card is None else None
    return summary.model_copy(update={"further_command": further})


def _put_finalists_away(context: Context, device: str) -> None:
    """Whatever their noise: a device that was slow all the time has none."""
    files = context.files
    for path_of in (files.verified_path, files.timed_again_path):
        put_away(device, path_of(device, context.config.workload.name))


def split_hosts(*texts: str) -> tuple[str, ...]:
    """The aliases that texts name, each one or several: `pi1,pi2`."""
    return tuple(host.strip() for text in texts for host in text.split(","))


def check_any_timed(dataset: "LatencyDataset") -> None:
    """Refuse a profile in which nothing was timed."""
    if dataset.records and not dataset.usable:
        device = dataset.context.device
        raise DeviceError(
            f"{device.name}: none of the {len(dataset.measured)} subnets could be timed (the last: "
            f"{dataset.records[-1].measurement.error}); run `mosdeploy devices check "
            f"{device.cli_name}`, then the same command again, which repeats them"
        )


def _summary(
    results: Sequence[CollectResult],
    card: PredictorCard | None,
    until_error_percent: float | None,
    error_met: bool | None,
) -> ProfileSummary:
    dataset = results[-1].dataset
    times_ms = dataset.times_ms
    states = [x for session in dataset.sessions for x in (session.state, session.after) if x]
    loads = [x.load_1min for x in states if x.load_1min is not None]
    return ProfileSummary(
        device=dataset.context.device.name,
        emulated=dataset.context.device.emulated,
        path=str(dataset.path),
        measured_now=sum(found.measured_now for found in results),
        num_records=len(dataset.measured),
        failed=len(dataset.measured) - len(dataset.usable),
        card=card,
        fastest_ms=min(times_ms, default=None),
        slowest_ms=max(times_ms, default=None),
        noise_floor_percent=dataset.noise_floor_percent,
        max_noise_percent=max_noise_percent(dataset.context.device),
        load_1min=max(loads, default=None),
        cores=states[-1].cores if states else None,
        until_error_percent=until_error_percent,
        error_met=error_met,
        boards=dataset.boards,
        failed_boards={
            host: cause for found in results for host, cause in found.failed_boards.items()
        },
    )


def _design(context: Context, budget: int | None) -> list[ArchConfig]:
    from ..latency.design import choose

    config = context.config.profile
    if budget is not None and not MIN_BUDGET <= budget <= MAX_BUDGET:
        allowed = f"it must be {MIN_BUDGET} to {MAX_BUDGET} subnets"
        raise ConfigError(f"budget is {budget}; {allowed}")
    return choose(context.spec, config.budget if budget is None else budget, config.seed)


def _parts(
    chosen: list[ArchConfig], target: DeviceProfile, config: RunConfig
) -> Iterator[list[ArchConfig]]:
    """Growing parts of a design, ending with the whole; none for a device without a predictor."""
    if reason := too_small(config):
        raise PredictorError(reason)
    if target.emulated:
        raise PredictorError(
            f"{target.name} is an emulated device: its times mean nothing, so there is no error to "
            "reach"
        )
    yield from (chosen[:size] for size in range(FIRST_PART, len(chosen), PART))
    yield chosen


def _card(context: Context, device: str) -> PredictorCard | None:
    """Card of the predictor, or None where there can be none yet; the reason is told."""
    try:
        return fitted(context.run, device).card
    except PredictorError as error:
        context.progress.say(f"no predictor yet: {error}")
        return None


def _reaches(
    context: Context, dataset: "LatencyDataset", part: Sequence[ArchConfig], limit_percent: float
) -> bool:
    """Whether a fit to one part of the design reaches an error."""
    from ..latency.predictor import LatencyPredictor

    # of this part alone, also where more is there: after a kill the same fits are judged again
    keys = {arch.key for arch in part}
    records = [record for record in dataset.records if record.arch.key in keys]
    try:
        own = replace(dataset, records=records)
        card = LatencyPredictor.fit_dataset(context.config.space, own).card
    except PredictorError as error:
        context.progress.say(f"no predictor yet: {error}")
        return False
    if card.trusted_mape_percent is None:
        return False
    context.progress.say(f"error {card.trusted_mape_percent:.2f}% from {card.num_samples} subnets")
    return card.trusted_mape_percent <= limit_percent
