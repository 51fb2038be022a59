"""What every verb is given."""

from pathlib import Path

from walking import make_run_folder

from mosdeploy.run_folder.context import SSH_CONFIG, Context, SilentProgress
from mosdeploy.run_folder.run import open_run


def test_a_context_gives_what_stands_in_the_run_folder(tmp_path: Path) -> None:
    run = open_run(make_run_folder(tmp_path / "run"))
    context = Context(run)
    assert context.files.root == tmp_path / "run"
    assert context.config.vocab_size == context.spec.vocab_size == 44
    assert context.spec.space == run.config.space
    assert context.family.name == "translation"
    assert context.ssh_config == SSH_CONFIG


def test_silent_progress_says_nothing(capsys) -> None:
    progress = SilentProgress()
    progress.update("train", 1, 2, "loss 1.0")
    progress.say("done")
    assert capsys.readouterr() == ("", "")
