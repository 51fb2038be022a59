"""Deploying to a real OpenSSH server on loopback, over lines that break."""

import contextlib
import os
from functools import partial

import pytest
from deploying import SLOT, live, write_request
from openssh import SSHD
from stalling_proxy import StallingProxy
from watching import wait_for

from mosdeploy.config.sections import DeployConfig
from mosdeploy.devices import connect
from mosdeploy.devices.connect import LastingSession, open_session
from mosdeploy.devices.deploy import deploy, roll_back
from mosdeploy.devices.device import Device
from mosdeploy.errors import CommandError

pytestmark = [
    pytest.mark.ssh,
    pytest.mark.skipif(not SSHD.exists(), reason="no OpenSSH server here"),
]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(connect, "RECONNECT_WAITS_S", (0.1, 0.5, 2.0))


@pytest.fixture
def lasting(server, make_profile):
    """Opens a session that comes back after a cut, and a list of what was said."""
    said = []
    return partial(
        LastingSession, partial(open_session, make_profile("ssh"), server.files.config), said.append
    ), said


@pytest.fixture
def put(lasting, make_profile, runtime_dir, tmp_path):
    def put(name, notify=lambda message: None, **content):
        release = write_request(tmp_path / "bundles" / name, runtime_dir, **content)
        with lasting[0]() as session:
            return deploy(
                Device(session, make_profile("ssh")), SLOT, release, DeployConfig(), notify
            )

    return put


def test_an_upload_that_is_cut_goes_on_where_it_was(server, lasting, put, bundles):
    more = os.urandom(4_000_000)
    with contextlib.closing(StallingProxy(server.port)) as proxy:
        server.write_files(port=proxy.port)
        # a socket that is closed takes back what the other side has not read yet
        proxy.before_cut = lambda: wait_for(
            lambda: sum(x.stat().st_size for x in bundles.rglob("*.part")) > 2_000_000
        )

        def cut_later(message):
            if "sending" in message:
                proxy.num_left = 2_500_000

        deployment = put("one", cut_later, more=more)
        assert any("reconnecting" in message for message in lasting[1])
        assert len(more) < proxy.num_passed < 1.4 * len(more)
    assert deployment.measurement.total.median_ms > 0
    assert live(bundles) == "one"
    assert (bundles / "current" / "bundle" / "more.bin").read_bytes() == more
    assert not list(bundles.rglob("*.part"))


def test_a_link_that_is_cut_at_every_step_costs_nothing(server, lasting, put, bundles):
    put("one")
    put("two", lambda message: server.kill_connections(), width=9)
    assert sum("reconnecting" in message for message in lasting[1]) == 2
    assert live(bundles) == "two"


def test_a_failure_leaves_the_old_version_and_a_rollback_works(lasting, put, bundles, make_profile):
    first = put("one", tokenizer="good one")
    put("two", tokenizer="good two")
    with pytest.raises(CommandError, match="self-test failed"):
        put("three", tokenizer="bad")
    assert live(bundles) == "two"
    with lasting[0]() as session:
        assert roll_back(Device(session, make_profile("ssh")), SLOT) == first
    assert live(bundles) == "one"
