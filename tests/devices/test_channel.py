"""What deploys to one board at the same time, or in turns, does no harm to one another."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from deploying import CHANNEL, CountingSession, live
from watching import other_agent

from mosdeploy.devices import deploy as room
from mosdeploy.devices.channel import Channel
from mosdeploy.devices.deploy import time_current
from mosdeploy.devices.local import LocalSession
from mosdeploy.devices.rollback import roll_back
from mosdeploy.errors import CommandError, DeviceBusyError, StaleInputError


@pytest.fixture
def during_look(monkeypatch):
    """Does something else when a deployment has been timed and is about to become current."""
    describe = room.describe

    def act(action):
        def first_act(session, profile):
            monkeypatch.setattr(room, "describe", describe)
            action()
            return describe(session, profile)

        monkeypatch.setattr(room, "describe", first_act)

    return act


@pytest.mark.slow
def test_two_deployments_at_once_leave_whole_versions(put, bundles, during_look, make_profile):
    put("one")
    other = replace(CHANNEL, owner="pc:/other", is_shared=True)
    during_look(lambda: put("three", keep=1, channel=other, tokenizer="good three"))
    put("two", keep=2, tokenizer="good two")
    assert live(bundles) == "two"
    roll_back(LocalSession("dev"), make_profile(), CHANNEL)
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
def test_projects_on_one_board_leave_each_other_alone(put, bundles, make_profile):
    other = Channel("en-fr", owner="pc:/en-fr")
    others = bundles.with_name("en-fr")
    session, profile = LocalSession("dev"), make_profile()
    put("one", tokenizer="good one")
    put("fr1", channel=other, keep=1, tokenizer="good fr1")
    two = put("two", tokenizer="good two")
    put("fr2", channel=other, tokenizer="good fr2")
    roll_back(session, profile, CHANNEL)
    assert (live(bundles), live(others)) == ("one", "fr2")
    with pytest.raises(StaleInputError, match="dev runs one now, not two"):
        time_current(session, profile, CHANNEL, two, lambda manifest: ())
    with pytest.raises(CommandError, match="no earlier version of 'en-de'"):
        roll_back(session, profile, CHANNEL)
    assert (live(bundles), live(others)) == ("one", "fr2")


def test_a_folder_of_the_same_name_takes_over_only_by_request(put, bundles, make_profile):
    put("one")
    namesake = Channel("en-de", owner="laptop:/en-de")
    session, profile = LocalSession("dev"), make_profile()
    match = r"'en-de' there belongs to pc:/en-de, this is laptop:/en-de; .* name = \"en-de\""
    for command in (
        lambda: put("two", channel=namesake),
        lambda: roll_back(session, profile, namesake),
    ):
        with pytest.raises(StaleInputError, match=match):
            command()
    assert live(bundles) == "one"
    put("two", channel=replace(namesake, is_shared=True))
    assert live(bundles) == "two"


def test_a_folder_that_was_moved_goes_on(put, bundles, tmp_path):
    before, after = (Channel("en-de", f"pc:{tmp_path / name}") for name in ("before", "after"))
    (tmp_path / "before").mkdir()
    put("one", channel=before)
    with pytest.raises(StaleInputError, match=r"belongs to pc:.*/before"):
        put("two", channel=after)
    (tmp_path / "before").rename(tmp_path / "after")
    put("two", channel=after)
    assert live(bundles) == "two"
    with pytest.raises(StaleInputError, match=r"belongs to pc:.*/after"):
        put("one", channel=replace(before, owner="laptop:/gone"))


def test_what_0_1_0_deployed_stays_and_its_files_are_linked(put, bundles, make_profile):
    first = put("one")
    old = bundles.parent
    shutil.move(first.remote_dir, old)
    shutil.rmtree(bundles)
    (old / "current").symlink_to(Path(first.remote_dir).name)
    session = CountingSession()
    put("one", session=session)
    assert session.uploads == []
    assert (live(old), live(bundles)) == ("one", "one")
    (old / "current" / "bundle" / "model.onnx").unlink()
    assert live(bundles) == "one"


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
            lambda session: roll_back(session, profile, CHANNEL),
            lambda session: time_current(session, profile, CHANNEL, deployment, lambda _: ()),
        ):
            session = ReadingSession()
            with pytest.raises(DeviceBusyError, match=f"pid {pid}, since noon"):
                command(session)
            assert "mkdir" in session.commands[0]  # whether the work folder is ours, by `ls`
            assert not [x for x in session.commands[1:] if "previous" not in x]
            assert session.uploads == []
