"""The law of collecting on several boards: each key once, whoever fails. The boards are folders of
this machine.
"""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_onnx import tiny_model
from watching import (
    QUICK,
    STAGES,
    agent_pid,
    all_lines,
    is_alive,
    other_agent,
    result_lines,
    wait_for,
)

from mosdeploy.config.device import MeasureProtocol
from mosdeploy.devices import connect, fleet
from mosdeploy.devices.connect import LocalSession
from mosdeploy.devices.device import Device
from mosdeploy.devices.fleet import (
    Accepted,
    Board,
    Failed,
    Finished,
    ResultReceived,
    Started,
    Uploading,
    WorkQueue,
    measure_fleet,
)
from mosdeploy.devices.measure import MeasurementTask, collect
from mosdeploy.devices.session import CommandResult
from mosdeploy.errors import (
    CommandError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    DeviceBusyError,
    DeviceError,
)
from mosdeploy.records import DeviceState, Measurement

WEIGHTS_BYTES = 4096
KEYS = ["a", "b", "c", "d"]
MANY = [
    f"k{i:02}" for i in range(20)
]  # enough for an agent to be still at work when it is looked at


def build(key):
    return tiny_model(weights_bytes=WEIGHTS_BYTES)


TASK = MeasurementTask("job", STAGES, threads=1, build=build, weights_bytes=WEIGHTS_BYTES)


@pytest.fixture
def profiles(make_profile, tmp_path):
    """Two boards that take two keys at a time."""
    protocol = MeasureProtocol(**{**QUICK, "reference_every": 2}, candidate_timeout_s=60.0)
    return [
        make_profile("ssh", host=host, work_dir=str(tmp_path / "boards" / host), measure=protocol)
        for host in ("pi1", "pi2")
    ]


def accepted(events):
    return {event.key: event.host for event in events if isinstance(event, Accepted)}


def run(boards, keys=KEYS, task=TASK):
    return list(measure_fleet(boards, keys, task))


def collect_at_once(device, task, keys, hooks):
    """In the place of `collect`: nothing runs, every subnet fails."""
    yield from ((key, Measurement(error="no")) for key in keys)


def leave_agent_at_work(profile, keys):
    """What a killed host leaves on a board: an agent in the middle of its work. Returns its pid."""
    collecting = collect(Device(LocalSession(), profile), TASK, keys)
    next(collecting)
    collecting.close()
    return agent_pid(profile)


class Recorded(LocalSession):
    """A session that remembers its commands."""

    def __init__(self, commands):
        super().__init__()
        self._commands = commands

    def run(self, command, timeout_s=None):
        self._commands.append(str(command))
        return super().run(command, timeout_s)


def test_boards_share_the_work_and_each_times_the_reference(profiles):
    events = run([Board(profile, LocalSession) for profile in profiles])
    found = accepted(events)
    assert sorted(found) == KEYS
    assert sorted(found.values()) == ["pi1", "pi1", "pi2", "pi2"]
    for profile in profiles:
        keys = [line["key"] for line in all_lines(profile)]
        assert (keys[0], keys[-1], len(keys)) == ("reference", "reference", 4)
        mine = [event for event in events if event.host == profile.host]
        assert isinstance(mine[0], Started)
        assert mine[0].state.cores == mine[-1].state.cores > 0
        assert isinstance(mine[-1], Finished)
        assert sorted(x.key for x in mine if isinstance(x, Uploading)) == sorted({*keys})
        assert [x.result.key for x in mine if isinstance(x, ResultReceived)] == keys


@pytest.mark.slow
def test_two_names_of_one_board_do_not_measure_at_once(profiles):
    pi1, pi2 = profiles
    twin = pi1.model_copy(update={"host": "pi3"})
    for _ in range(2):  # another run may know the board by either name
        events = run([Board(profile, LocalSession) for profile in (pi1, pi2, twin)])
        (failed,) = (event for event in events if isinstance(event, Failed))
        other = {"pi1": "pi3", "pi3": "pi1"}[failed.host]
        assert str(failed.error).startswith(
            f"{failed.host}: it is the same board and user as {other}"
        )
        assert sorted(accepted(events)) == KEYS


@pytest.mark.slow
def test_what_a_killed_run_left_is_collected_from_its_board(profiles):
    second = profiles[1]
    pid = leave_agent_at_work(second, ["c", "d"])
    events = run([Board(profile, LocalSession) for profile in profiles])
    assert accepted(events) == {"a": "pi1", "b": "pi1", "c": "pi2", "d": "pi2"}
    assert sorted(line["key"] for line in result_lines(second)) == ["c", "d"]
    assert agent_pid(second) == pid  # joined, or read after its end: never started again


def test_a_board_that_was_looked_at_is_not_probed_again(profiles, monkeypatch):
    monkeypatch.setattr(fleet, "collect", collect_at_once)
    commands = []
    looked = DeviceState(cores=99)
    events = run([Board(profiles[0], lambda: Recorded(commands), state=looked)])
    assert accepted(events) == dict.fromkeys(KEYS, "pi1")
    assert events[0] == Started("pi1", looked)
    # and how it is afterwards is asked without its runtime
    told = " ".join(map(str, commands))
    assert "describe" in told and "probe" not in told and "benchmark" not in told


@pytest.mark.slow
def test_an_agent_whose_work_others_have_done_meanwhile_is_ended(profiles):
    profile = profiles[0]
    pid = leave_agent_at_work(profile, MANY)
    assert accepted(run([Board(profile, LocalSession)], ["a"])) == {"a": "pi1"}
    assert not is_alive(pid)
    assert len(result_lines(profile)) <= len(MANY)


def test_a_busy_board_is_left_alone_and_the_others_measure(profiles):
    first, second = profiles
    commands = []
    with other_agent(second.work_dir) as pid:
        events = run([Board(first, LocalSession), Board(second, lambda: Recorded(commands))], ["a"])
    assert accepted(events) == {"a": "pi1"}
    (failed,) = (event for event in events if isinstance(event, Failed))
    assert failed.host == "pi2"
    assert isinstance(failed.error, DeviceBusyError)
    assert f"pid {pid}, since noon" in str(failed.error)
    assert ["mkdir" in command for command in commands] == [True]  # whether the folder is ours


@pytest.mark.slow
def test_unfinished_keys_of_a_failed_board_go_to_the_others(profiles, monkeypatch):
    monkeypatch.setattr(connect, "RECONNECT_WAITS_S", ())
    results = Path(profiles[1].work_dir) / "jobs" / "job" / "results.jsonl"

    def gone():
        return results.exists() and len(results.read_text().splitlines()) >= 2

    class Fading(LocalSession):
        def read(self, remote_path, offset=0):
            if gone():
                raise ConnectionLostError("the link is gone")
            return super().read(remote_path, offset)

    keys = [f"k{i}" for i in range(6)]
    events = run([Board(profiles[0], LocalSession), Board(profiles[1], Fading)], keys)
    assert sorted(accepted(events)) == keys
    assert [event.host for event in events if isinstance(event, Failed)] == ["pi2"]
    assert list(accepted(events).values()).count("pi1") >= 5


READY = {
    "python_version": "3.11.2",
    "packages": {"numpy": "2.3.0", "onnxruntime": "1.24.1"},
    "providers": ["CPUExecutionProvider"],
}


class Answering(LocalSession):
    """A device that says the same of itself each time, and prints `{}` to all else."""

    def __init__(self, state=READY):
        super().__init__()
        self._state = state

    def run(self, command, timeout_s=None):
        answer = self._state if "probe" in str(command) else {}
        text = str(command) if "boot_id" in str(command) else json.dumps(answer)
        return CommandResult(text, "", 0)


def test_one_odd_board_does_not_end_a_fleet(profiles, monkeypatch):
    monkeypatch.setattr(fleet, "collect", collect_at_once)
    odd = Board(profiles[1], lambda: Answering({**READY, "cores": "many"}))
    events = run([Board(profiles[0], Answering), odd])
    assert accepted(events) == dict.fromkeys(KEYS, "pi1")
    (failed,) = (event for event in events if isinstance(event, Failed))
    assert failed.host == "pi2"
    assert "no valid answer: 'cores': " in str(failed.error)


def test_a_host_that_the_ssh_config_has_no_key_for_does_not_end_a_fleet(profiles, monkeypatch):
    def refuse():
        raise ConfigError("IdentityFile does not exist")

    monkeypatch.setattr(fleet, "collect", collect_at_once)
    lost = Board(profiles[1], refuse)
    events = run([Board(profiles[0], Answering), lost])
    assert accepted(events) == dict.fromkeys(KEYS, "pi1")
    (failed,) = (event for event in events if isinstance(event, Failed))
    assert (failed.host, str(failed.error)) == ("pi2", "IdentityFile does not exist")
    with pytest.raises(ConfigError, match="IdentityFile"):
        run([lost])


def test_a_board_that_stalls_keeps_no_other_from_its_work(profiles, monkeypatch):
    others_are_done = threading.Event()

    class Stalling(Answering):
        def run(self, command, timeout_s=None):
            if "probe" in str(command):
                assert others_are_done.wait(30)
                raise ConnectionLostError("no answer")
            return super().run(command, timeout_s)

    monkeypatch.setattr(connect, "RECONNECT_WAITS_S", ())
    monkeypatch.setattr(fleet, "collect", collect_at_once)
    found = {}
    for event in measure_fleet(
        [Board(profiles[0], Answering), Board(profiles[1], Stalling)], KEYS, TASK
    ):
        found |= accepted([event])
        if len(found) == len(KEYS):
            others_are_done.set()
    assert found == dict.fromkeys(KEYS, "pi1")


def test_when_all_boards_fail_the_error_names_each_cause(profiles):
    def unreachable():
        raise ConnectError("no route to pi1")

    broken = Board(profiles[1].model_copy(update={"python": "python-nowhere"}), LocalSession)
    with pytest.raises(DeviceError, match=r"every board failed, 4 subnets") as caught:
        run([Board(profiles[0], unreachable), broken])
    for part in (
        "pi1: no route to pi1",
        "pi2: dev@pi2: no Python on the device",
        "run the same command again",
    ):
        assert part in str(caught.value)
    with pytest.raises(CommandError, match="no Python on the device"):
        run([broken])


@pytest.mark.slow
def test_ctrl_c_ends_every_agent_and_the_next_run_goes_on(profiles):
    boards = [Board(profile, LocalSession) for profile in profiles]
    events = measure_fleet(boards, MANY, TASK)
    while not all(result_lines(profile) for profile in profiles):
        next(events)
    with pytest.raises(KeyboardInterrupt):
        events.throw(KeyboardInterrupt)
    pids = [agent_pid(profile) for profile in profiles]
    wait_for(lambda: not any(is_alive(pid) for pid in pids))
    kept = {line["key"] for profile in profiles for line in result_lines(profile)}
    assert 2 <= len(kept) < len(MANY)
    assert sorted(accepted(run(boards, sorted(kept)))) == sorted(kept)
    lines = [line["key"] for profile in profiles for line in result_lines(profile)]
    assert sorted(lines) == sorted(kept)


def test_an_error_of_no_board_is_raised_as_it_is(profiles):
    def wrong(key):
        raise ZeroDivisionError(key)

    boards = [Board(profile, LocalSession) for profile in profiles]
    with pytest.raises(ZeroDivisionError):
        run(boards, task=replace(TASK, build=wrong))


# the queue, by hand

QUEUE_KEYS = [f"k{i:02}" for i in range(30)]
QUEUE_HOSTS = ("pi1", "pi2", "pi3")


def make_queue(keys=QUEUE_KEYS, hosts=QUEUE_HOSTS, min_batch=10, held=()):
    made = WorkQueue(keys, hosts, min_batch, "seed")
    for host in hosts:
        made.claim(host, dict(held).get(host, ()))
    return made


def accept_all(work, host, keys):
    for key in keys:
        work.accept(host, key)


def taken_by(work, host):
    """What a board takes in a thread of its own, once that comes back."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work.take(host)), daemon=True)
    thread.start()
    return thread, found


def test_every_key_is_handed_out_once_in_an_order_of_its_own():
    work = make_queue()
    taken = [work.take(host) for host in QUEUE_HOSTS]
    assert [len(keys) for keys in taken] == [10, 10, 10]
    assert sorted(key for keys in taken for key in keys) == QUEUE_KEYS
    assert sorted(taken[0]) != QUEUE_KEYS[:10]
    assert [make_queue().take("pi1") for _ in range(2)] == [taken[0]] * 2


@pytest.mark.parametrize(
    ("num_keys", "num_boards", "sizes"),
    [
        (30, 1, [30]),
        (30, 4, [8, 8, 8, 6]),  # a share of ten each would leave a board idle
        (120, 3, [40, 27, 18, 12, 10, 10, 3]),  # ever smaller, but never below a stretch
        (2, 3, [1, 1]),
    ],
)
def test_shares_by_hand(num_keys, num_boards, sizes):
    hosts = [f"pi{i}" for i in range(num_boards)]
    work = make_queue([f"k{i:03}" for i in range(num_keys)], hosts)
    found = []
    for i in range(len(sizes)):
        host = hosts[i % num_boards]
        keys = work.take(host)
        accept_all(work, host, keys)
        found.append(len(keys))
    assert found == sizes
    assert work.num_open == 0
    assert work.take(hosts[0]) == ()


def test_nothing_is_handed_out_before_every_board_has_reported():
    work = WorkQueue(QUEUE_KEYS, QUEUE_HOSTS, 10, "seed")
    work.claim("pi1", ())
    thread, found = taken_by(work, "pi1")
    work.claim("pi2", QUEUE_KEYS[:25])
    thread.join(0.2)
    assert thread.is_alive()
    work.remove_worker("pi3")  # unreachable: there is nothing to wait for
    thread.join(20)
    assert sorted(found[0]) == QUEUE_KEYS[25:]


def test_keys_of_a_removed_board_go_to_the_others():
    work = make_queue(QUEUE_KEYS[:4], QUEUE_HOSTS[:2], min_batch=2)
    first, second = work.take("pi1"), work.take("pi2")
    accept_all(work, "pi1", first)
    work.accept("pi2", second[0])
    thread, found = taken_by(work, "pi1")
    thread.join(0.2)
    assert thread.is_alive()  # nothing waits, but pi2 may still fail
    work.remove_worker("pi2")
    thread.join(20)
    assert found == [(second[1],)]
    accept_all(work, "pi1", found[0])
    assert (work.num_open, work.take("pi1")) == (0, ())
