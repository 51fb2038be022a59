"""Which of the processes that torchrun started this one is."""

import os
from dataclasses import dataclass

from ..errors import ConfigError

SIZE = "WORLD_SIZE"
NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun sets besides the number of processes: the own one's rank, and where all meet."""


@dataclass(frozen=True)
class Launch:
    """One process among those that work together."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def read(cls) -> "Launch":
        """Read the environment."""
        size = _number(SIZE, 1)
        if size == 1:
            return cls()
        missing = [name for name in NEEDED if name not in os.environ]
        rank = _number("RANK", 0)
        if missing or not 0 <= rank < size:
            what = f"no {' and no '.join(missing)}" if missing else f"RANK = {rank}"
            raise ConfigError(
                f"the environment has WORLD_SIZE = {size}, but {what}: to train with several "
                f"processes, start them with torchrun; else `unset {SIZE} {' '.join(NEEDED)}`"
            )
        return cls(rank, size, _number("LOCAL_RANK", 0))


def is_first() -> bool:
    """Whether this process prints: of several that torchrun started, the first one does."""
    try:
        return Launch.read().rank == 0
    except ConfigError:
        return True


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    try:
        return int(text)
    except ValueError as error:
        raise ConfigError(
            f"{name} = {text!r} in the environment is no number; `unset {name}`"
        ) from error
