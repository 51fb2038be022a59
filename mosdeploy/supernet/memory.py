"""A network that the memory cannot hold."""

import contextlib
from collections.abc import Iterator

from ..errors import MosdeployError
from ..spaces.genes import SearchSpace


@contextlib.contextmanager
def memory_errors(space: SearchSpace) -> Iterator[None]:
    """Turn torch's failure to get memory for a network of a space into a MosdeployError."""
    try:
        yield
    except RuntimeError as error:  # torch has no type of its own for the processor's memory
        if "can't allocate memory" not in str(error):
            raise
        given = {name: getattr(space, name) for name in type(space).model_fields}
        widths = [
            f"{name} = {x if isinstance(x, int) else max(x):,}"
            for name, x in given.items()
            if name.endswith("_dim") and x
        ]
        raise MosdeployError(
            f"no memory for a network as large as [space] allows, up to {', '.join(widths)}; give "
            "smaller ones: `mosdeploy train --dry-run` tells what they take"
        ) from error
