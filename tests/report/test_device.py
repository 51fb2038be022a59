import dataclasses

from synthetic import DEVICE, deployment, full_inputs

from mosdeploy.config.device import DeviceProfile
from mosdeploy.records import DeviceState, Measurement, SessionRecord
from mosdeploy.report.device import deployments_table, describe_device

SESSION = SessionRecord(
    session="s1", started_at="2025-03-01T11:00:00Z", state=DeviceState(cpu_model="Cortex-A76")
)


def test_newest_state_is_shown() -> None:
    inputs = dataclasses.replace(full_inputs(), sessions=(SESSION,))
    view = describe_device(inputs)
    assert view is not None
    assert dict(view.facts)["Processor"] == "Cortex-A72"  # the deployment is newer
    assert view.description == "Raspberry Pi 4, 64-bit."
    view = describe_device(dataclasses.replace(inputs, deployments=()))
    assert view is not None
    assert dict(view.facts)["Processor"] == "Cortex-A76"
    assert view.taken_at == "<time>2025-03-01 11:00 UTC</time>"
    assert view.board is None


def test_board_of_a_fleet_is_named() -> None:
    sessions = (SESSION.model_copy(update={"host": "pi2"}),)
    view = describe_device(
        dataclasses.replace(full_inputs(), deployments=(), sessions=sessions, context=None)
    )
    assert view is not None
    assert view.board == "pi2"
    assert view.description == ""


def test_a_deployment_to_another_board_is_of_that_board() -> None:
    inputs = full_inputs()
    (usual,) = [x for x in inputs.deployments if x.device.name == inputs.search.device]
    other = usual.model_copy(
        update={
            "device": usual.device.model_copy(update={"host": "pi2"}),
            "deployed_at": "2025-04-01T12:30:00Z",
        }
    )
    view = describe_device(dataclasses.replace(inputs, deployments=(usual, other)))
    assert view is not None and view.board == "pi2"
    view = describe_device(dataclasses.replace(inputs, deployments=(usual,)))
    assert view is not None and view.board is None


def test_a_memory_limit_stands_beside_what_was_taken() -> None:
    inputs = full_inputs()
    taken = {"memory_bytes": 48 * 2**20 + 40_000, "peak_memory_bytes": 103 * 2**20}
    deployments = tuple(
        x.model_copy(
            update={
                "measurement": x.measurement.model_copy(update=taken),
                "max_memory_bytes": 48 * 2**20,
            }
        )
        for x in inputs.deployments
    )
    table = deployments_table(dataclasses.replace(inputs, deployments=deployments))
    assert table is not None
    assert "48.0381 MiB of 48 MiB" in str(table.rows[0]) and "broken" in str(table.rows[0])


def test_device_that_never_measured_has_no_view() -> None:
    assert describe_device(dataclasses.replace(full_inputs(), deployments=())) is None


def test_state_by_hand() -> None:
    view = describe_device(full_inputs())
    assert view is not None
    facts = dict(view.facts)
    assert facts["Memory"] == "4.0\N{NO-BREAK SPACE}GiB, 3.0\N{NO-BREAK SPACE}GiB free"
    assert facts["Frequency"] == "1800 MHz"
    assert facts["numpy"] == "2.2.1"
    assert facts["onnxruntime"] == "1.22.0"
    assert facts["Throttled"] is None
    assert facts["Execution providers"] == "Azure, CPU"


def test_winners_deployment_comes_first() -> None:
    other = deployment(3.0, DeviceProfile(name="arm"))
    inputs = full_inputs()
    table = deployments_table(dataclasses.replace(inputs, deployments=(other, deployment(11.4))))
    assert table is not None
    assert [row[0] for row in table.rows] == ["rpi", "arm"]
    assert table.rows[0][3:8] == (
        "11.4\N{NO-BREAK SPACE}ms",
        "12.1\N{NO-BREAK SPACE}ms",
        "-",
        "11.1\N{NO-BREAK SPACE}ms",
        '12 ms <span class="good">kept</span>',
    )
    assert len(table.rows[0]) == len(table.header)


def test_failed_deployment_shows_its_error() -> None:
    failed = deployment(1.0, DEVICE.model_copy(update={"emulated": True})).model_copy(
        update={"measurement": Measurement(error="killed"), "self_test_passed": False}
    )
    table = deployments_table(dataclasses.replace(full_inputs(), deployments=(failed,)))
    assert table is not None
    [row] = table.rows
    assert row[0] == "rpi (emulated: not a latency)"
    assert row[2] == '<span class="bad">failed</span>'
    assert row[3:10] == ('<span class="bad">killed</span>', "-", "-", "-", "12 ms", "-", "-")


def test_no_deployments_no_table() -> None:
    assert deployments_table(dataclasses.replace(full_inputs(), deployments=())) is None
