"""The device of the page: its state when it last measured, and the bundles that stand on
devices.
"""

from dataclasses import dataclass

from markupsafe import Markup

from .. import printable
from ..printable import EMULATED, figure_note, latency
from ..records import Deployment, DeviceState
from .cells import (
    Cell,
    Facts,
    Table,
    bad,
    byte_size,
    good,
    limit_verdict,
    milliseconds,
    moment,
)
from .summary import ReportInputs, delivery, profiles


@dataclass(frozen=True)
class DeviceView:
    """The newest state of the search's device; `board` names the machine of a fleet that it is of,
    None for a single one.
    """

    description: str
    board: str | None
    taken_at: str
    facts: Facts


def describe_device(inputs: ReportInputs) -> DeviceView | None:
    """What the device said about itself the last time that it measured something; None if it never
    did.
    """
    name = inputs.search.device
    states = [
        (x.deployed_at, x.state, x.device.host_alias)
        for x in inputs.deployments
        if x.device.name == name
    ]
    states += [(x.started_at, x.state, x.host or name) for x in inputs.sessions]
    if not states:
        return None
    taken_at, state, board = max(states, key=lambda item: item[0])
    own = profiles(inputs)
    # that of the profile needs no name; `deploy --host` may have another one
    measured = inputs.context.device if inputs.context is not None else inputs.profile
    usual = measured.host_alias if measured is not None else name
    return DeviceView(
        description=own[-1].description if own else "",
        board=None if board in (name, usual) else board,
        taken_at=moment(taken_at),
        facts=_state_facts(state),
    )


def _state_facts(state: DeviceState) -> Facts:
    memory = None if state.memory_bytes is None else byte_size(state.memory_bytes)
    if memory and state.memory_available_bytes is not None:
        memory += f", {byte_size(state.memory_available_bytes)} free"
    return (
        ("Processor", state.cpu_model),
        ("Machine", state.machine),
        ("Cores", state.cores),
        ("Memory", memory),
        ("Disk free", None if state.disk_free_bytes is None else byte_size(state.disk_free_bytes)),
        ("Governor", state.governor),
        ("Frequency", None if state.frequency_mhz is None else f"{state.frequency_mhz:.0f} MHz"),
        ("Temperature", None if state.temperature_c is None else f"{state.temperature_c:.0f} °C"),
        ("Throttled", state.throttled),
        ("Load, one minute", None if state.load_1min is None else f"{state.load_1min:.2f}"),
        ("Python", state.python_version),
        *state.packages.items(),
        # "CPU, CUDA": the full names are wider than a column
        (
            "Execution providers",
            ", ".join(x.removesuffix("ExecutionProvider") for x in state.providers) or None,
        ),
    )


def deployments_table(inputs: ReportInputs) -> Table | None:
    """List every deployment, first that of what was delivered; None where there is none."""
    if not inputs.deployments:
        return None
    first = delivery(inputs)
    ordered = sorted(inputs.deployments, key=lambda x: (x is not first, x.device.name))
    return Table(
        (
            "device",
            "bundle",
            "self-test",
            "median",
            "p90",
            "p99",
            "minimum",
            "limit",
            "load",
            "peak memory",
            "when",
        ),
        tuple(_deployment(x) for x in ordered),
        "Each measured there, as deployed",
    )


def _deployment(deployment: Deployment) -> tuple[Cell, ...]:
    measurement = deployment.measurement
    total = measurement.total
    times: tuple[Cell, ...] = (bad(measurement.error or "not timed"), "-", "-", "-")
    if total is not None:
        figures_ms = (total.median_ms, total.p90_ms, total.of("p99"), total.minimum_ms)
        times = tuple(milliseconds(x) for x in figures_ms)
    device = deployment.device
    name = device.name
    if device.host_alias != name:
        name += f" ({device.host_alias})"
    if device.emulated:
        name += f" ({EMULATED})"
    return (
        name,
        deployment.bundle,
        good("passed") if deployment.self_test_passed else bad("failed"),
        *times,
        _limit(deployment),
        milliseconds(measurement.load_ms),
        byte_size(measurement.peak_memory_bytes),
        moment(deployment.deployed_at),
    )


def _limit(deployment: Deployment) -> Cell:
    limits = []
    if deployment.limit_ms is not None:
        text = f"{latency(deployment.limit_ms)}{figure_note(deployment.statistic)}"
        limits.append(limit_verdict(text, deployment.limit_kept))
    if deployment.max_memory_bytes is not None:
        taken_bytes = deployment.measurement.memory_bytes
        most = printable.byte_size(deployment.max_memory_bytes, 6)
        if taken_bytes is not None:
            most = f"{printable.byte_size(taken_bytes, 6)} of {most}"
        limits.append(limit_verdict(most, deployment.memory_kept))
    return Markup(", ").join(limits) if limits else "none"
