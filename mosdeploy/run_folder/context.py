"""What every verb is given: a run folder, who is told how far it is, and the user's ssh_config."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..config import RunConfig
from ..spaces import ModelSpec
from ..workspace import Workspace
from .run import Run

if TYPE_CHECKING:
    from ..family import Family

SSH_CONFIG = Path("~/.ssh/config")


@runtime_checkable
class Progress(Protocol):
    """How a verb tells that it is getting on; the command line draws it."""

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` steps of a stage are over."""

    def say(self, message: str) -> None:
        """Something worth one line has happened."""


@runtime_checkable
class DrawsCurves(Protocol):
    """Progress that can show a curve beside a stage."""

    def curve(self, stage: str, values: Sequence[float]) -> None:
        """All values so far, such as the validation losses of a training."""


class SilentProgress:
    """Progress that nobody looks at."""

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Do nothing."""

    def say(self, message: str) -> None:
        """Do nothing."""


SILENT = SilentProgress()


@dataclass(frozen=True)
class Context:
    """A run folder under work."""

    run: Run
    progress: Progress = SILENT
    ssh_config: Path = SSH_CONFIG

    @property
    def config(self) -> RunConfig:
        """The run file."""
        return self.run.config

    @property
    def files(self) -> Workspace:
        """Names of the files in the run folder."""
        return self.run.workspace

    @property
    def spec(self) -> ModelSpec:
        """The model that latency and cost are asked of."""
        return self.run.config.spec

    @property
    def family(self) -> "Family":
        """The kind of model that the run file names."""
        return self.run.family

    def check_checkpoint(self) -> None:
        """Refuse a space that is not that of the checkpoint, before anything is measured for it."""
        if self.family.check_checkpoint is not None:
            self.family.check_checkpoint(self.config, self.files.root)
