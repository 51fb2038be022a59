"""What a latency depends on besides the subnet: when a measurement no longer counts."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..config.device import MeasureProtocol
from ..errors import PredictorError
from ..records import DeviceState, LatencyContext, LatencyRecord, SessionRecord

UNTOLD = ("candidate_timeout_s",)
"""Keys of the protocol that change no time, only how long one is waited for."""

SHARED = ("machine", "ONNX Runtime")
"""What the boards of a fleet have in common; each has its own processor, or revision of it."""


def context_differences(found: LatencyContext, wanted: LatencyContext) -> list[str]:
    """What keeps measurements of one context from being continued in another, in words."""
    pairs: list[tuple[str, object, object]] = [
        ("search space", found.space_sha256[:12], wanted.space_sha256[:12]),
        ("vocabulary size", found.vocab_size, wanted.vocab_size),
        ("graph", found.graph_sha256[:12], wanted.graph_sha256[:12]),
        ("machine id", found.machine_id, wanted.machine_id),
    ]
    pairs += found.workload.beside(wanted.workload)
    pairs += [
        # what changes the times; the same board may be reached in another way
        (f"device {key}", getattr(found.device, key), getattr(wanted.device, key))
        for key in ("name", "kind", "provider", "emulated")
    ]
    pairs += [
        (f"measure.{key}", getattr(found.device.measure, key), getattr(wanted.device.measure, key))
        for key in MeasureProtocol.model_fields
        if key not in UNTOLD
    ]
    return [f"{name} is {old} there and {new} now" for name, old, new in pairs if old != new]


def board_differences(
    sessions: Sequence[SessionRecord], host: str, state: DeviceState, *, is_fleet: bool
) -> list[str]:
    """How a board that is about to measure differs from those that measured before, in words."""
    now = board_conditions(state)
    if now["ONNX Runtime"] is None:
        return []  # nothing can be measured now, and measuring says why
    is_known = any(session.host == host for session in sessions)
    found: dict[str, None] = {}
    for session in sessions:
        then = board_conditions(session.state)
        if then["ONNX Runtime"] is None:
            continue  # nothing could be measured in it
        is_same_board = session.host == host or not (is_known or is_fleet)
        for name in now if is_same_board else SHARED:
            if then[name] != now[name]:
                found[f"{name} was {then[name]}, is {now[name]} now"] = None
    return list(found)


def board_conditions(state: DeviceState) -> dict[str, str | None]:
    """What the times of a board depend on, as far as it tells: None where it does not."""
    version = onnxruntime_version(state)
    return {
        "machine": state.machine,
        "processor": state.cpu_model,
        # what follows the name are clocks and temperatures
        "GPU": state.gpu and state.gpu.split(",")[0],
        # versions that differ in the third number are taken to be equally fast
        "ONNX Runtime": version and minor_version(version),
    }


def onnxruntime_version(state: DeviceState) -> str | None:
    """Version of the build of ONNX Runtime that the device has, such as `onnxruntime-gpu`."""
    builds = (name for name in sorted(state.packages) if name.startswith("onnxruntime"))
    return state.packages.get(next(builds, ""))


def minor_version(runtime: str) -> str:
    """A version, with or without a name before it, up to its second number: "1.20" of "1.20.0"."""
    return ".".join(runtime.split(".")[:2])


def runtime_family(runtime: str) -> str:
    """The first word of a runtime's name: "onnxruntime" of "onnxruntime 1.20.0"."""
    return runtime.split(maxsplit=1)[0] if runtime else ""


def one_runtime(records: Iterable[LatencyRecord], path: Path, device: str) -> str:
    """Return the runtime that measured the records of a file, its versions joined by commas."""
    runtimes = sorted({record.runtime for record in records})
    # the features do not tell runtimes apart, so that one fit over two would be right for neither;
    # versions that differ in the third number are taken to be equally fast
    if len({minor_version(runtime) for runtime in runtimes}) > 1:
        raise PredictorError(
            f"{path} mixes the runtimes {' and '.join(runtimes)}; move the folder {path.parent} "
            f"away and run `mosdeploy profile --device {device}` again"
        )
    return ", ".join(runtimes)
