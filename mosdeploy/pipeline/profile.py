"""The verb `profile`: measure a few well-chosen subnets on a device."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..config import RunConfig
from ..config.device import DeviceProfile, load_profile
from ..config.sections import MAX_BUDGET, MIN_BUDGET
from ..errors import ConfigError, DeviceError, PredictorError
from ..records import PredictorCard
from ..run_folder.context import Context
from ..run_folder.devices import run_profile
from ..run_folder.options import FitOptions, ProfileOptions
from ..run_folder.predictors import fit_again, fitted, further_command, max_noise_percent, too_small
from ..run_folder.summaries import ProfileSummary
from ..spaces.genes import ArchConfig
from .measuring.collect import CollectRequest, boards_of, collect, put_away

if TYPE_CHECKING:
    from ..latency.dataset import LatencyDataset

FIRST_PART = 10
PART = 5
"""Subnets of the first and of each further part of a profile that stops at an error."""


def profile(context: Context, options: ProfileOptions | None = None) -> ProfileSummary:
    """Measure well-chosen subnets on a device, those not measured yet, and fit the predictor."""
    options = options or ProfileOptions()
    context.check_checkpoint()
    name = context.run.device_name(options.device)
    target = run_profile(context.files.root, name)
    boards = boards_of(target, options.hosts)
    chosen = _design(context, options.budget)
    limit_percent = options.until_error_percent
    parts = [chosen] if limit_percent is None else _parts(chosen, target, context.config)
    workload = context.config.workload.name
    if options.renew:
        # finalists too, whatever their noise: a device that was slow all the time has none
        for path_of in (context.files.verified_path, context.files.timed_again_path):
            put_away(name, path_of(name, workload))
    measured_now = 0
    failed_boards: dict[str, str] = {}
    failed = set[str]()
    reached: list[bool] = []
    for part in parts:
        is_first = part is parts[0]
        request = CollectRequest(
            target,
            # what failed in an earlier part may fail by its time-out again
            [arch for arch in part if arch.key not in failed],
            context.files.latency_path(name, workload),
            boards,
            renew=options.renew and is_first,
            look=is_first,
        )
        found = collect(context, request)
        dataset = found.dataset
        measured_now += found.measured_now
        failed_boards |= found.failed_boards
        failed = dataset.measured.keys() - {record.arch.key for record in dataset.usable}
        if limit_percent is not None:
            reached.append(_reaches(context, dataset, part, limit_percent))
        if reached[-2:] == [True, True]:
            break
    _check_any_timed(dataset)
    card = _card(context, name)
    summary = _summary(dataset, card)
    return summary.model_copy(
        update={
            "measured_now": measured_now,
            "failed_boards": failed_boards,
            "until_error_percent": limit_percent,
            "error_met": None if limit_percent is None else reached[-2:] == [True, True],
            # a predictor that is corrected from another one takes fewer than one of its own
            "further_command": None if card else further_command(dataset, context.config),
        }
    )


def split_hosts(*texts: str) -> tuple[str, ...]:
    """Return the aliases that texts name, each one or several: `pi1,pi2`."""
    return tuple(host.strip() for text in texts for host in text.split(","))


def _design(context: Context, budget: int | None) -> list[ArchConfig]:
    from ..latency.regression import choose

    if budget is None:
        budget = context.config.profile.budget
    if not MIN_BUDGET <= budget <= MAX_BUDGET:
        raise ConfigError(f"budget is {budget}; it must be {MIN_BUDGET} to {MAX_BUDGET} subnets")
    return choose(context.spec, budget, context.config.draw_seed)


def _parts(
    chosen: list[ArchConfig], target: DeviceProfile, config: RunConfig
) -> list[list[ArchConfig]]:
    """Return growing parts of a design, ending with the whole."""
    if reason := too_small(config):
        raise PredictorError(reason)
    if target.emulated:
        raise PredictorError(
            f"{target.name} is an emulated device: its times mean nothing, so there is no error to "
            "reach"
        )
    if len(chosen) <= FIRST_PART:
        raise PredictorError(
            f"an error is judged from {FIRST_PART} subnets on and has to be reached twice in a "
            f"row, which takes a budget of {FIRST_PART + 1} or more; this one gives {len(chosen)} "
            f"of the {config.space.num_architectures:,} architectures of the space"
        )
    sizes = range(FIRST_PART, len(chosen), PART)
    return [*(chosen[:size] for size in sizes), chosen]


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


def _check_any_timed(dataset: "LatencyDataset") -> None:
    """Refuse a profile in which nothing was timed."""
    if dataset.records and not dataset.usable:
        device = dataset.context.device
        raise DeviceError(
            f"{device.name}: none of the {len(dataset.measured)} subnets could be timed (the last: "
            f"{dataset.records[-1].measurement.error}); run `mosdeploy devices check "
            f"{device.cli_name}`, then the same command again, which repeats them"
        )


def _card(context: Context, device: str) -> PredictorCard | None:
    """Return the predictor's card, or None where there can be none yet; the reason is told."""
    try:
        return fitted(context.run, device).card
    except PredictorError as error:
        context.progress.say(f"no predictor yet: {error}")
        return None


def _summary(dataset: "LatencyDataset", card: PredictorCard | None) -> ProfileSummary:
    times_ms = dataset.times_ms
    states = [x for session in dataset.sessions for x in (session.state, session.after) if x]
    loads = [x.load_1min for x in states if x.load_1min is not None]
    return ProfileSummary(
        device=dataset.context.device.name,
        emulated=dataset.context.device.emulated,
        path=str(dataset.path),
        measured_now=0,
        num_records=len(dataset.measured),
        failed=len(dataset.measured) - len(dataset.usable),
        card=card,
        fastest_ms=min(times_ms, default=None),
        slowest_ms=max(times_ms, default=None),
        noise_floor_percent=dataset.noise_floor_percent,
        max_noise_percent=max_noise_percent(dataset.context.device),
        load_1min=max(loads, default=None),
        cores=states[-1].cores if states else None,
        boards=dataset.boards,
    )


def fit(context: Context, options: FitOptions | None = None) -> PredictorCard:
    """Fit the latency predictor of a device to what was measured there."""
    options = options or FitOptions()
    name = context.run.profiled_device_name(options.device)
    load_profile(name, context.files.root)
    source = options.source
    workload = context.config.workload.name
    # a predictor may have come without a profile
    if source is not None and not context.files.predictor_path(source, workload).exists():
        load_profile(source, context.files.root)
    return fit_again(context.run, name, source).card
