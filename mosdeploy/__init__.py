"""mosdeploy: the best Transformer that was measured, on your device, to keep your budget."""

from .version import __version__ as __version__

# that of typing, by its name; to import typing would double the time until Ctrl-C is heeded
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from .api import RunFolder, compare_chart, front_chart, init, open_run
    from .config.device import DeviceProfile, load_profile
    from .errors import (
        ArchError,
        BundleError,
        ConfigError,
        DeviceError,
        ExportError,
        InfeasibleError,
        MosdeployError,
        PredictorError,
        StaleInputError,
    )
    from .latency.predictor import LatencyPredictor
    from .runtime import Translator, open_model
    from .spaces import ArchConfig, ModelSpec, SearchSpace

__all__ = [
    "ArchConfig",
    "ArchError",
    "BundleError",
    "ConfigError",
    "DeviceError",
    "DeviceProfile",
    "ExportError",
    "InfeasibleError",
    "LatencyPredictor",
    "ModelSpec",
    "MosdeployError",
    "PredictorError",
    "RunFolder",
    "SearchSpace",
    "StaleInputError",
    "Translator",
    "compare_chart",
    "front_chart",
    "init",
    "load_profile",
    "open_model",
    "open_run",
]

_HOMES = {
    "api": ("RunFolder", "compare_chart", "front_chart", "init", "open_run"),
    "config.device": ("DeviceProfile", "load_profile"),
    "errors": tuple(name for name in __all__ if name.endswith("Error")),
    "latency.predictor": ("LatencyPredictor",),
    "runtime": ("Translator", "open_model"),
    "spaces": ("ArchConfig", "ModelSpec", "SearchSpace"),
}
"""Where each public name lives; it is imported from there when it is first asked for."""


def __getattr__(name: str) -> "Any":
    import importlib

    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
