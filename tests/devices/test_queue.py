"""The queue of a fleet: who gets what, by hand."""

import threading

import pytest

from mosdeploy.devices.queue import WorkQueue

KEYS = [f"k{i:02}" for i in range(30)]
HOSTS = ("pi1", "pi2", "pi3")


def make_queue(keys=KEYS, hosts=HOSTS, min_batch=10, held=()):
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
    taken = [work.take(host) for host in HOSTS]
    assert [len(keys) for keys in taken] == [10, 10, 10]
    assert sorted(key for keys in taken for key in keys) == KEYS
    assert sorted(taken[0]) != KEYS[:10]
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


def test_what_a_board_holds_is_leased_to_it_first():
    work = make_queue(held={"pi2": ["k05", "k29", "unknown"]})
    assert sorted(work.take("pi2")) == ["k05", "k29"]
    accept_all(work, "pi2", ["k05", "k29"])
    assert len(work.take("pi2")) == 10
    others = [*work.take("pi1"), *work.take("pi3")]
    assert not {"k05", "k29"} & set(others)


def test_nothing_is_handed_out_before_every_board_has_reported():
    work = WorkQueue(KEYS, HOSTS, 10, "seed")
    work.claim("pi1", ())
    thread, found = taken_by(work, "pi1")
    work.claim("pi2", KEYS[:25])
    thread.join(0.2)
    assert thread.is_alive()
    work.remove_worker("pi3")  # unreachable: there is nothing to wait for
    thread.join(20)
    assert sorted(found[0]) == KEYS[25:]


def test_keys_of_a_removed_board_go_to_the_others():
    work = make_queue(KEYS[:4], HOSTS[:2], min_batch=2)
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


def test_a_stopped_queue_hands_out_nothing():
    work = make_queue()
    work.take("pi1")
    work.stop()
    assert work.take("pi2") == ()
    for host in HOSTS:
        work.remove_worker(host)
    assert work.num_open == 30
