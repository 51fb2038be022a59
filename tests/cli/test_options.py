"""Options that all verbs share, records of options, and what every verb must take."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from mosdeploy.cli.app import app
from mosdeploy.cli.options import SETTINGS, Common, spread
from mosdeploy.cli.printing import PROGRESS
from mosdeploy.record import Record
from mosdeploy.run_folder import options
from mosdeploy.run_folder.options import Option


@dataclass(frozen=True)
class Limits:
    lowest: Annotated[int, typer.Option(help="The least.")] = 0
    highest: Annotated[int, typer.Option(help="The most.")] = 9


Device = Annotated[str | None, typer.Option("--device")]


class Answer(Record):
    value: int


def verb(limits: Limits, device: Device = None, *, count: int = 1) -> None:
    """Say what was given."""
    print(limits, device, count)


def commands(
    command: Any = None, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every verb with the words that name it."""
    command = command or typer.main.get_command(app)
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name, child in command.commands.items():
        yield from commands(child, (*words, name))


COMMANDS = dict(commands())
NAMES = [" ".join(words) for words in COMMANDS]


# -- spread


def test_typer_reads_a_spread_verb() -> None:
    alone = typer.Typer()
    alone.command()(spread(verb))
    done = CliRunner().invoke(alone, ["--lowest", "2", "--device", "rpi"])
    assert done.output == "Limits(lowest=2, highest=9) rpi 1\n"
    assert CliRunner().invoke(alone, ["--lowest", "two"]).exit_code == 2


# -- Common


def test_a_record_is_all_that_json_prints(capsys: pytest.CaptureFixture[str]) -> None:
    Common(as_json=True).show(Answer(value=3), "three", "mosdeploy train")
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"value": 3}
    assert printed.err == ""


def test_the_next_command_is_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Common().show(Answer(value=3), "three", "mosdeploy train")
    assert capsys.readouterr() == ("three\n", "next: mosdeploy train\n")
    Common().show(Answer(value=3), "three")
    assert capsys.readouterr() == ("three\n", "")


def test_only_the_first_process_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")  # left behind by an earlier job
    Common().show(Answer(value=3), "three")
    assert capsys.readouterr().out == "three\n"
    for name, value in {"WORLD_SIZE": "2", "MASTER_ADDR": "here", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    Common().show(Answer(value=3), "three")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("RANK", "0")
    Common().show(Answer(value=3), "three")
    assert capsys.readouterr().out == "three\n"


def test_context_has_the_folder_and_the_ssh_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mosdeploy.pipeline.init import init

    init(tmp_path, "tiny", None)
    monkeypatch.setattr(SETTINGS, "ssh_config", tmp_path / "config")
    context = Common(tmp_path).context()
    assert (context.files.root, context.ssh_config) == (tmp_path, tmp_path / "config")


def test_quiet_names_no_next_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PROGRESS, "is_quiet", True)
    Common().show(Answer(value=3), "three", "mosdeploy train")
    assert capsys.readouterr() == ("three\n", "")


# -- the records of the verbs

RECORDS = [x for x in vars(options).values() if dataclasses.is_dataclass(x) and x is not Option]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_each_field_is_an_option_with_its_help_default_and_reader(record: Any) -> None:
    def take(options: record) -> None:  # type: ignore[valid-type]
        taken.append(options)

    take.__annotations__["options"] = record
    taken: list[Any] = []
    alone = typer.Typer()
    alone.command()(spread(take))
    command = typer.main.get_command(alone)
    hints = get_type_hints(record, include_extras=True)
    found = {name: x.__metadata__[0] for name, x in hints.items() if hasattr(x, "__metadata__")}
    parameters = {parameter.name: parameter for parameter in command.params}
    for name, option in found.items():
        assert parameters[name].help == option.help
        assert len(option.names) == 0 or set(option.names) <= set(parameters[name].opts)
    assert CliRunner().invoke(alone, []).exit_code == 0
    assert taken == [record()]


# -- every verb


@pytest.mark.parametrize("words", COMMANDS, ids=NAMES)
def test_every_verb_is_explained_and_answers_in_json_and_in_a_folder(
    words: tuple[str, ...],
) -> None:
    done = CliRunner().invoke(app, [*words, "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage:" in done.output
    assert COMMANDS[words].help.strip()
    assert all(getattr(x, "help", None) for x in COMMANDS[words].params)
    options = {option for x in COMMANDS[words].params for option in x.opts}
    assert {"--json", "--dir", "-C"} <= options


NO_DEFAULT = {"train", "checkpoint", "task", "chart"}
"""Options that a command does without."""


@pytest.mark.parametrize("words", COMMANDS, ids=NAMES)
def test_every_option_tells_its_default(words: tuple[str, ...]) -> None:
    options = [x for x in COMMANDS[words].params if x.param_type_name == "option"]
    untold = {x.name for x in options if x.default is None and x.show_default is True}
    assert untold <= NO_DEFAULT | {x.name for x in options if x.required}


@pytest.mark.parametrize("words", [(), ("devices",), ("export",)], ids=str)
def test_nothing_is_cut_on_a_narrow_terminal(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*words, "--help"], terminal_width=80)
    _, text = done.output.split("\n\n", 1)  # without the usage
    assert "..." not in text
    assert "…" not in text


def test_options_before_the_verb_are_explained() -> None:
    group: Any = typer.main.get_command(app)
    options = {option: x.help for x in group.params for option in x.opts}
    assert all(options.values())
    assert {"--debug", "--verbose", "-v", "--quiet", "-q", "--version"} <= set(options)
