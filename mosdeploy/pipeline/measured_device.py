"""A device in a run folder: what was measured on it, its predictor, what goes on with them."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import RunConfig
from ..errors import ConfigError, MosdeployError, OtherConditionsError, StaleInputError
from ..locks import is_locked
from ..printable import milliseconds, plain, three_digits
from ..records import Limits
from ..run_folder.conditions import check_current
from ..run_folder.context import Context
from ..run_folder.devices import run_profile
from ..run_folder.enough_measured import further_command, profile_command, too_small
from ..run_folder.measured_folders import has_records
from ..run_folder.predictors import lost_its_measurements
from ..run_folder.summaries import Part
from ..spaces import ModelSpec
from ..workspace import PREDICTOR_NAME
from .parts import RUNS_NOW, require, subnets

if TYPE_CHECKING:
    from ..latency.dataset import LatencyDataset


def profile_of(device: str) -> str:
    """What measures a device, on its own board."""
    return f"mosdeploy profile --device {device}"


def middle_limit(context: Context, device: str | None = None) -> str:
    """Options of a search within a limit between the fastest and the slowest subnet of a device;
    empty where neither is known.
    """
    middles_ms = middle_times_ms(context)
    name = device or next(iter(middles_ms), None)
    if name is not None and name in middles_ms:
        return f" --max-latency {plain(middles_ms[name])}ms{context.run.device_option(name)}"
    measured = sorted(context.run.devices_with_latencies(), key=context.run.device_option)
    if not measured or not too_small(context.config):
        return ""
    options = middle_size(context.config, context.spec)
    return f" {options}{context.run.device_option(name or measured[0])}"


def middle_size(config: RunConfig, spec: ModelSpec) -> str:
    """Options of a limit on parameters between those of the smallest and the largest subnet."""
    sizes = [spec.num_parameters(arch) for arch in (config.space.smallest, config.space.largest)]
    limits = Limits(max_parameters=sum(sizes) // 2)
    return " ".join(limits.options(config.search.count))


def middle_times_ms(context: Context) -> dict[str, float]:
    """The middle between the fastest and the slowest subnet by device, first of the one that a
    search means; only of devices of which it is known.
    """
    devices = sorted(context.run.devices_with_latencies(), key=context.run.device_option)
    middles_ms = {device: MeasuredDevice(context, device).middle_ms for device in devices}
    return {device: middle for device, middle in middles_ms.items() if middle is not None}


def _rounded_middle(low: float, high: float) -> float:
    """The middle to two digits; to more where it would lie outside then."""
    middle = (low + high) / 2
    rounded = (float(plain(middle, digits)) for digits in (2, 3, 4, 5, 6))
    return next((value for value in rounded if low <= value <= high), middle)


@dataclass(frozen=True)
class MeasuredDevice:
    """One device in a run folder."""

    context: Context
    device: str

    @property
    def path(self) -> Path:
        """Of its measurements, for the workload of the run file."""
        return self.context.files.latency_path(self.device, self.context.config.workload.name)

    @property
    def predictor_path(self) -> Path:
        """Of what was fitted to them."""
        return self.path.with_name(PREDICTOR_NAME)

    @property
    def dataset(self) -> "LatencyDataset":
        """Its measurements; raises where there are none, or they are corrupt."""
        from ..latency.dataset import LatencyDataset

        return LatencyDataset.load(self.path)

    @property
    def has_predictor(self) -> bool:
        """Whether one was fitted, corrected from another device's, or imported."""
        return self.predictor_path.exists()

    @property
    def is_begun(self) -> bool:
        """Whether a profile ended before its first subnet, and nothing else is there."""
        return not (self.has_predictor or has_records(self.path))

    @property
    def is_lost(self) -> bool:
        """Whether the measurements are gone that its predictor was fitted to."""
        with contextlib.suppress(MosdeployError):
            return self.has_predictor and lost_its_measurements(self.predictor_path)
        return False

    @property
    def command(self) -> str | None:
        """What measures it, or measures it again; None where there is no such device any more."""
        command = profile_of(self.device)
        try:
            run_profile(self.context.files.root, self.device)
            if self.path.exists():
                dataset = self.dataset
                command = profile_command(dataset)
                check_current(self.context.run, dataset)
        except OtherConditionsError:
            return f"{command} --renew"
        except ConfigError:
            return None
        except StaleInputError:  # corrupt: which file to delete is told
            pass
        return command

    @property
    def fit_command(self) -> str | None:
        """What makes the predictor: more measuring where that is too little to fit it to."""
        if self.command is None or not has_records(self.path):
            return self.command
        if self.source is not None:
            return f"mosdeploy fit --device {self.device} --from {self.source}"
        with contextlib.suppress(StaleInputError):
            if more := further_command(self.dataset, self.context.config):
                return more
            if self.was_stopped:
                return profile_command(self.dataset)
        return f"mosdeploy fit --device {self.device}"

    @property
    def was_stopped(self) -> bool:
        """Whether a profile was stopped before its end, at which it notes how it leaves the board
        and, where there can be one, fits a predictor.
        """
        if self.has_predictor or is_locked(self.path):
            return False
        latest = {session.host: session for session in self.dataset.sessions}
        return any(session.after is None for session in latest.values())

    @property
    def source(self) -> str | None:
        """The device whose predictor was corrected for this one, as later measurements do again."""
        from ..latency.predictor import LatencyPredictor

        with contextlib.suppress(MosdeployError):
            if self.has_predictor:
                trial = LatencyPredictor.load(self.predictor_path).card.transfer
                return trial.source if trial is not None and trial.used else None
        return None

    @property
    def is_emulated(self) -> bool:
        """Whether its times mean nothing, so that no predictor is fitted to them."""
        with contextlib.suppress(StaleInputError):
            return self.path.exists() and self.dataset.context.device.emulated
        return False

    @property
    def middle_ms(self) -> float | None:
        """Between the fastest and the slowest subnet; None where nothing tells it."""
        if self.is_emulated or (too_small(self.context.config) and not self.has_predictor):
            return None
        with contextlib.suppress(MosdeployError):
            times_ms = self.dataset.times_ms if self.path.exists() else []
            times_ms = times_ms or self._predicted_ms()
            return _rounded_middle(min(times_ms), max(times_ms))
        return None

    def _predicted_ms(self) -> list[float]:
        """What an imported predictor says of the smallest and the largest subnet."""
        from ..latency.predictor import LatencyPredictor

        found = LatencyPredictor.load(self.predictor_path)
        found.check(self.context.spec, self.device)
        space = self.context.config.space
        return list(map(float, found.predict(space.genes([space.smallest, space.largest]))))

    def is_wanted(self, is_any_measured: bool) -> bool:
        """Whether a walk goes on with this device, of which nothing was measured: the run file
        names it, or names none where no other was measured; never in the folder of a task.
        """
        if self.context.config.served_by is not None:
            return False
        named = self.context.config.device
        return self.device == named or (named is None and not is_any_measured)

    @property
    def begun_command(self) -> str:
        """The profile that was begun: on the boards whose sessions there are."""
        with contextlib.suppress(StaleInputError):
            if self.path.exists():
                return profile_command(self.dataset)
        return profile_of(self.device)

    def running(self, is_any_measured: bool) -> Part:
        """The part of a device that is measured at the moment; the walk waits for its own."""
        is_own = self.is_wanted(is_any_measured)
        detail = f"`{self.begun_command}` {RUNS_NOW if is_own else 'runs now'}"
        return Part(what="measurements", name=self.device, state="missing", detail=detail)

    @property
    def has_answered(self) -> bool:
        """Whether a profile has begun a session on it."""
        with contextlib.suppress(StaleInputError):
            return self.path.exists() and bool(self.dataset.sessions)
        return False

    @property
    def first_command(self) -> str | None:
        """What to run on a device without measurements: it may not have answered."""
        try:
            profile = run_profile(self.context.files.root, self.device)
        except ConfigError:
            return None
        if profile.kind == "local" or self.has_answered:
            return self.begun_command
        return f"mosdeploy devices check {self.device}"

    def measurements(self) -> str:
        """What was measured, in words; raises where it does not count."""
        dataset = self.dataset
        check_current(self.context.run, dataset)
        times_ms = dataset.times_ms
        words = [subnets(len(dataset.measured))]
        if times_ms:
            words.append(f"{three_digits(min(times_ms))} to {milliseconds(max(times_ms))}")
        if failed := len(dataset.measured) - len(dataset.usable):
            words.append(f"{failed} failed")
        if dataset.context.device.emulated:
            words.append("emulated: no latencies")
        if self.was_stopped:
            words.append(f"stopped; `{profile_command(dataset)}` goes on")
        return ", ".join(words)

    def predictor(self) -> str:
        """How good its predictor is, in words; raises where there is none, or it does not count."""
        from ..latency.predictor import LatencyPredictor

        require(self.predictor_path)
        found = LatencyPredictor.load(self.predictor_path)
        found.check(self.context.spec, self.device)
        if lost_its_measurements(self.predictor_path):
            raise StaleInputError("fitted to measurements that are gone")
        if has_records(self.path) and found.card.dataset_sha256 != self.dataset.sha256:
            raise StaleInputError("fitted before the last measurements")
        return f"error {found.card.mape_percent:.2f}% on {subnets(found.card.num_samples)}"
