"""A device goes back to the bundle before."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from deploying import CHANNEL, live

from mosdeploy.config.sections import DeployConfig
from mosdeploy.devices.channel import Channel
from mosdeploy.devices.deploy import deploy
from mosdeploy.devices.local import LocalSession
from mosdeploy.devices.on_device.versions import switch
from mosdeploy.devices.rollback import roll_back
from mosdeploy.errors import (
    CommandError,
)
from mosdeploy.records import Measurement


@pytest.mark.slow
def test_a_rollback_goes_back_step_by_step(put, bundles, make_profile):
    profile, session = make_profile(), LocalSession("dev")
    deployments = {name: put(name, tokenizer=f"good {name}") for name in ("one", "two", "three")}
    assert roll_back(session, profile, CHANNEL) == deployments["two"]
    assert live(bundles) == "two"
    put("four", tokenizer="good four")
    assert roll_back(session, profile, CHANNEL) == deployments["two"]
    assert roll_back(session, profile, CHANNEL) == deployments["one"]
    assert live(bundles) == "one"
    with pytest.raises(CommandError, match=r"no earlier version .*keep_versions"):
        roll_back(session, profile, CHANNEL)
    assert live(bundles) == "one"


def test_a_rollback_to_a_broken_version_changes_nothing(put, bundles, make_profile):
    first = put("one", tokenizer="good one")
    put("two")
    damaged = Path(first.remote_dir) / "bundle" / "tokenizer.model"
    damaged.write_text("cut off")
    with pytest.raises(CommandError, match=r"is damaged \(bundle/tokenizer\.model\)"):
        roll_back(LocalSession("dev"), make_profile(), CHANNEL)
    damaged.write_text("good one")
    (
        Path(first.remote_dir) / "mosdeploy_runtime" / "__main__.py"
    ).unlink()  # mended from the other version
    assert roll_back(LocalSession("dev"), make_profile(), CHANNEL) == first
    assert live(bundles) == "one"


@pytest.mark.slow
def test_a_rollback_tells_of_channels_that_an_old_name_may_have(
    put, bundles, make_profile, tmp_path
):
    session, profile = LocalSession("dev"), make_profile()
    before, after = (Channel(name, f"pc:{tmp_path / name}") for name in ("before", "after"))
    (tmp_path / "before").mkdir()
    put("one", channel=before, tokenizer="good one")
    put("two", channel=before, tokenizer="good two")
    (tmp_path / "before").rename(tmp_path / "after")
    put("fr", channel=Channel("en-fr", owner="laptop:/en-fr"))
    # another folder that is here has not been renamed
    put("neighbour", channel=Channel("neighbour", owner=f"pc:{tmp_path}"))
    for deployed in (False, True):  # under its new name, too
        if deployed:
            put("three", channel=after)
        with pytest.raises(CommandError, match="no earlier version of 'after'") as raised:
            roll_back(session, profile, after)
        told = str(raised.value)
        assert "versions stand there in 'before', 'en-fr': " in told
        assert 'name = "before" under [deploy]' in told
    # of several none is the one
    put("four", channel=replace(after, name="later"))
    with pytest.raises(CommandError, match=r"'before', 'en-fr', 'later': .*name = \"\.\.\.\""):
        roll_back(session, profile, after)
    # what it says to do does it
    roll_back(session, profile, replace(after, name="before", is_shared=True))
    assert live(bundles.with_name("before")) == "one"


def rewrite(path, **changes):
    """What a newer mosdeploy might have written there."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_a_newer_mosdeploy_wrote_keeps_nobody_from_rolling_back(
    put, bundles, make_profile, caplog
):
    session, profile, release = LocalSession("dev"), make_profile(), put.release("one")
    rewrite(release.bundle_dir / "manifest.json", version=3, energy={"joules": 3}, arch=None)
    first = deploy(session, profile, CHANNEL, release, DeployConfig())
    second = put("two", width=9)
    record = Path(first.remote_dir) / "deployment.json"
    for newer in ({"energy": {"joules": 3}}, {"version": 2, "measurement": []}):
        rewrite(record, **newer)
        text = record.read_text()
        found = roll_back(session, profile, CHANNEL)
        assert live(bundles) == "one"
        assert found.measurement == Measurement(error="its record could not be read")
        for same in ("device", "state", "bundle", "bundle_sha256", "remote_dir", "limit_ms"):
            assert getattr(found, same) == getattr(first, same)
        assert "update mosdeploy here" in caplog.text
        assert record.read_text() == text  # for the mosdeploy that wrote it
        switch(bundles, Path(second.remote_dir).name)
    rewrite(Path(first.remote_dir) / "bundle" / "manifest.json", runtime="wasm")
    with pytest.raises(CommandError, match=r"'runtime'.*update mosdeploy here, or .*--bundle"):
        roll_back(session, profile, CHANNEL)
    assert live(bundles) == "two"
