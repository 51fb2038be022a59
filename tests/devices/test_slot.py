"""What deploys to one board at the same time, or in turns, does no harm to one another."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from deploying import SLOT, CountingSession, live
from watching import other_agent

from mosdeploy.devices import deploy as room
from mosdeploy.devices.deploy import roll_back, time_current
from mosdeploy.devices.device import Device
from mosdeploy.devices.slot import DeploymentSlot
from mosdeploy.errors import CommandError, DeviceBusyError, StaleInputError


@pytest.fixture
def during_look(device, monkeypatch):
    """Does something else when a deployment has been timed and is about to become current."""
    describe = room.describe

    def act(action):
        def first_act(device):
            monkeypatch.setattr(room, "describe", describe)
            action()
            return describe(device)

        monkeypatch.setattr(room, "describe", first_act)

    return act


@pytest.mark.slow
def test_two_deployments_at_once_leave_whole_versions(put, bundles, during_look, device):
    put("one")
    other = replace(SLOT, owner="pc:/other", is_shared=True)
    during_look(lambda: put("three", keep=1, slot=other, tokenizer="good three"))
    put("two", keep=2, tokenizer="good two")
    assert live(bundles) == "two"
    roll_back(device, SLOT)
    assert live(bundles) == "three"


def test_a_version_that_another_command_removed_does_not_become_current(put, bundles, during_look):
    first = put("one")

    def remove_others():
        for path in bundles.glob("*-*"):
            if path != Path(first.remote_dir):
                shutil.rmtree(path)

    during_look(remove_others)
    with pytest.raises(CommandError, match=r"no longer whole \(SHA256SUMS\).*same command again"):
        put("two", tokenizer="good two")
    assert live(bundles) == "one"
    assert [path.name for path in bundles.glob("*-*")] == [Path(first.remote_dir).name]


@pytest.mark.slow
def test_projects_on_one_board_leave_each_other_alone(put, bundles, device):
    other = DeploymentSlot("en-fr", owner="pc:/en-fr")
    others = bundles.with_name("en-fr")
    put("one", tokenizer="good one")
    put("fr1", slot=other, keep=1, tokenizer="good fr1")
    two = put("two", tokenizer="good two")
    put("fr2", slot=other, tokenizer="good fr2")
    roll_back(device, SLOT)
    assert (live(bundles), live(others)) == ("one", "fr2")
    with pytest.raises(StaleInputError, match="dev runs one now, not two"):
        time_current(device, SLOT, two, lambda manifest: ())
    with pytest.raises(CommandError, match="no earlier version of 'en-de'"):
        roll_back(device, SLOT)
    assert (live(bundles), live(others)) == ("one", "fr2")


def test_a_folder_of_the_same_name_takes_over_only_by_request(put, bundles, device):
    put("one")
    namesake = DeploymentSlot("en-de", owner="laptop:/en-de")
    match = r"'en-de' there belongs to pc:/en-de, this is laptop:/en-de; .* name = \"en-de\""
    for command in (
        lambda: put("two", slot=namesake),
        lambda: roll_back(device, namesake),
    ):
        with pytest.raises(StaleInputError, match=match):
            command()
    assert live(bundles) == "one"
    put("two", slot=replace(namesake, is_shared=True))
    assert live(bundles) == "two"


def test_a_folder_that_was_moved_goes_on(put, bundles, tmp_path):
    before, after = (
        DeploymentSlot("en-de", f"pc:{tmp_path / name}") for name in ("before", "after")
    )
    (tmp_path / "before").mkdir()
    put("one", slot=before)
    with pytest.raises(StaleInputError, match=r"belongs to pc:.*/before"):
        put("two", slot=after)
    (tmp_path / "before").rename(tmp_path / "after")
    put("two", slot=after)
    assert live(bundles) == "two"
    with pytest.raises(StaleInputError, match=r"belongs to pc:.*/after"):
        put("one", slot=replace(before, owner="laptop:/gone"))


class ReadingSession(CountingSession):
    """Tells what it is asked to run."""

    def __init__(self):
        super().__init__()
        self.commands = []

    def run(self, command, timeout_s=None):
        self.commands.append(str(command))
        return super().run(command, timeout_s)


def test_a_device_that_measures_is_left_alone(put, make_profile):
    put("one")
    deployment, profile = put("two", tokenizer="good two"), make_profile()
    with other_agent(profile.work_dir) as pid:
        for command in (
            lambda session: put("three", session=session, tokenizer="good three"),
            lambda session: roll_back(Device(session, profile), SLOT),
            lambda session: time_current(Device(session, profile), SLOT, deployment, lambda _: ()),
        ):
            session = ReadingSession()
            with pytest.raises(DeviceBusyError, match=f"pid {pid}, since noon"):
                command(session)
            assert "mkdir" in session.commands[0]  # whether the work folder is ours, by `ls`
            assert not [x for x in session.commands[1:] if "previous" not in x]
            assert session.uploads == []
