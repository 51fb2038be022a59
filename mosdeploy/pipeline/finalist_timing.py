"""How long finalists of a search take on the device."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.units import Statistic
from ..records import Candidate
from ..run_folder.context import Context
from ..run_folder.devices import run_profile
from ..run_folder.predictors import recent_cutoff
from .collect import CollectRequest, collect

if TYPE_CHECKING:
    from ..latency.dataset import LatencyDataset

MIN_NOISE = 0.03
"""What timings at different times differ by at least, as a share, whatever the spread within a few
minutes says: of 60 later ones of 30 winners (docs/reliability.md) 55 lay below it.
"""


@dataclass
class FinalistTiming:
    """Timings of one search on one device."""

    context: Context
    device: str
    statistic: Statistic = "median"
    noise: float = MIN_NOISE
    since: datetime = field(default_factory=recent_cutoff)
    _asked: dict[Path, list[str]] = field(default_factory=dict)

    @property
    def first_path(self) -> Path:
        """Dataset of the first timings."""
        return self.context.files.verified_path(self.device, self.context.config.workload.name)

    @property
    def again_path(self) -> Path:
        """Dataset of the second timings, of a winner and of the next one."""
        return self.context.files.timed_again_path(self.device, self.context.config.workload.name)

    def timed(self, chosen: Sequence[Candidate], path: Path) -> list[Candidate]:
        """Candidates with the times of a dataset; those without a recent one are measured."""
        target = run_profile(self.context.files.root, self.device).timed_for(self.statistic)
        is_first = path not in self._asked
        asked = self._asked.setdefault(path, [])
        asked += [candidate.arch.key for candidate in chosen]
        request = CollectRequest(
            target,
            [candidate.arch for candidate in chosen],
            path,
            # what was measured in this search has to stay comparable
            renew=is_first,
            look=is_first,
            since=self.since,
        )
        dataset = collect(self.context, request).dataset
        self.noise = max(self.noise, _noise_of(dataset, asked, self.statistic))
        timed = []
        for candidate in chosen:
            measurement = dataset.measured[candidate.arch.key].measurement
            found = {
                "measured_ms": measurement.figure_ms(self.statistic),
                "measured_memory_bytes": measurement.memory_bytes,
            }
            timed.append(candidate.model_copy(update=found))
        return timed


def _noise_of(dataset: "LatencyDataset", keys: Sequence[str], statistic: Statistic) -> float:
    """How far apart repeats lie, as a share, in the sessions that measured some architectures."""
    from ..latency.calibration import noise_floor_percent

    measured = dataset.measured
    # `profile --renew` may have put away what was measured before
    names = {measured[key].session for key in keys if key in measured}
    sessions = [session for session in dataset.sessions if session.session in names]
    host = dataset.context.device.host_alias
    return (noise_floor_percent(sessions, host, statistic=statistic) or 0.0) / 100
