import inspect

from mosdeploy import errors
from mosdeploy.errors import InfeasibleError, MosdeployError

CODES = {
    "MosdeployError": 1,
    "ConfigError": 3,
    "UnknownKeyError": 3,
    "ArchError": 3,
    "StaleInputError": 4,
    "DamagedError": 4,
    "UnreadableError": 4,
    "OtherConditionsError": 4,
    "DeviceError": 5,
    "ConnectError": 5,
    "HostKeyError": 5,
    "AuthError": 5,
    "CommandError": 5,
    "ConnectionLostError": 5,
    "DeviceTimeoutError": 5,
    "CommandTimeoutError": 5,
    "DeviceBusyError": 5,
    "PredictorError": 6,
    "InfeasibleError": 7,
    "ExportError": 8,
    "BundleError": 8,
}


def _tree() -> dict[str, type[MosdeployError]]:
    return {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, MosdeployError)
    }


def test_exit_codes_are_the_documented_ones() -> None:
    assert {name: kind.exit_code for name, kind in _tree().items()} == CODES


def test_docstring_draws_every_error() -> None:
    missing = [name for name in _tree() if name not in (errors.__doc__ or "")]
    assert not missing


def test_infeasible_carries_the_fastest_latency() -> None:
    assert InfeasibleError("too slow", 12.5).fastest_latency_ms == 12.5
    assert InfeasibleError("too big").fastest_latency_ms is None
