"""How a checkpoint makes one vector of a text: what sentence-transformers wrote beside its
weights.
"""

from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import ConfigError
from ..record import Record, read_json
from .lookup import resolve_path

Pooling = Literal["mean", "cls"]
"""The mean of the vectors of all tokens, or the vector of the first one, `[CLS]`."""

HUB = "hub:"
MODULES_NAME = "modules.json"
POOLING_DIR = "1_Pooling"
CONFIG_NAME = "config.json"

_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
_MODE = "pooling_mode"
_FLAGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
_ADVICE = 'write pooling = "mean" or pooling = "cls" in [task] to have one of these all the same'


class VectorModules(Record):
    """What a folder of sentence-transformers does with the hidden states.

    Attributes
    ----------
    pooling
        How the tokens' vectors become one.
    is_normalized
        Whether that one is then scaled to length 1; as a rule it is.
    """

    pooling: Pooling
    is_normalized: bool = True


def pooling_of(path: str | None, root: Path) -> Pooling:
    """How a run file's `checkpoint.path` makes a vector, as far as can be seen without a download:
    `mean` where nothing is said or there is no folder.
    """
    if path is None or path.startswith(HUB):
        return "mean"
    try:
        folder = resolve_path(path, root)
    except ConfigError:
        return "mean"  # of a package that is not installed; `train` says so
    said = read_vector_modules(folder)
    return "mean" if said is None else said.pooling


def read_vector_modules(folder: Path) -> VectorModules | None:
    """Read `modules.json` and the config of its Pooling, or `1_Pooling/config.json` alone; None
    where there is neither.
    """
    modules_path = folder / MODULES_NAME
    path = folder / POOLING_DIR / CONFIG_NAME
    is_normalized = True
    if modules_path.is_file():
        paths = _modules(modules_path)
        path = folder / paths["Pooling"] / CONFIG_NAME
        is_normalized = "Normalize" in paths
    elif not path.is_file():
        return None
    modes = _modes(read_json(path), path)
    if modes not in ([mode] for mode in get_args(Pooling)):
        raise ConfigError(
            f"{path}: pooling by {' and '.join(map(str, modes))} is not supported; supported: "
            f"{', '.join(get_args(Pooling))}; {_ADVICE}"
        )
    return VectorModules(pooling=modes[0], is_normalized=is_normalized)


def _modules(path: Path) -> dict[str, str]:
    """Folder of each module, by the name of its class."""
    modules = read_json(path)
    try:
        kinds = [module["type"].rpartition(".")[2] for module in modules]
        paths = {kind: str(x["path"]) for kind, x in zip(kinds, modules, strict=True)}
    except (AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: no list of modules: {error!r}") from error
    if kinds not in _MODULES:
        raise ConfigError(
            f"{path}: vectors made by {', '.join(kinds)} are not supported; supported: "
            f"{' and '.join(', '.join(allowed) for allowed in _MODULES)}; {_ADVICE}"
        )
    return paths


def _modes(config: Any, path: Path) -> list[Any]:
    """Names of the poolings whose vectors are put side by side; as a rule one."""
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: no config of a Pooling: it is no object")
    if _MODE in config:
        said = config[_MODE]
        return said if isinstance(said, list) else [said]
    # older folders have a flag for each
    flags = [key for key, is_on in config.items() if key.startswith(_MODE) and is_on]
    # where all are off, sentence-transformers takes the mean
    return [_FLAGS.get(flag, flag) for flag in flags] or ["mean"]
