"""The verb `init`."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ..recipes import list_recipes
from ..run_folder.options import ENCODERS, TRANSLATION
from .options import Common
from .printing import PROGRESS, table

if TYPE_CHECKING:
    from ..pipeline.init import InitOptions
    from ..run_folder.summaries import NewRun


@dataclass(frozen=True)
class DataOptions:
    """The user's data, and what is to be made of them."""

    second: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="With --train: the file of the other language."),
    ] = None
    train: Annotated[
        str | None,
        typer.Option(
            metavar="FILE [FILE]",
            help="Your data, in place of a template: two files of parallel text or a .tsv; with "
            "--checkpoint a .csv, .tsv or .jsonl of labelled texts, or lines of text.",
        ),
    ] = None
    valid: Annotated[
        str | None,
        typer.Option(
            help="Data that all choices are made by.",
            show_default="the file beside --train, else a share of it",
        ),
    ] = None
    test: Annotated[
        str | None,
        typer.Option(
            help="Data for the scores at the end.",
            show_default="the file beside --train, else a share of it",
        ),
    ] = None
    checkpoint: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=ENCODERS,
            help="What an encoder starts from: a folder, package:NAME/PATH or hub:ID.",
        ),
    ] = None
    size: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=TRANSLATION,
            help="Of a translation: tiny, small, base or large.",
            show_default="what suits the data",
        ),
    ] = None
    time: Annotated[
        str | None,
        typer.Option(
            help="Time for all training, on this machine, with its unit: 30m, 2h.",
            show_default="as many steps as suit the data",
        ),
    ] = None
    languages: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=TRANSLATION,
            help="Source and target of a translation: en-de.",
            show_default="the suffixes of the files",
        ),
    ] = None
    text: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=ENCODERS,
            help="Column of the text, or of the words.",
            show_default="told by its name",
        ),
    ] = None
    label: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=ENCODERS,
            help="Column of the label, or of the tags.",
            show_default="told by its name",
        ),
    ] = None
    winners: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=TRANSLATION,
            min=1,
            help="Limits or devices that one supernet of translations will serve, each by a winner "
            "of its own.",
            show_default="1",
        ),
    ] = None

    def given(self) -> list[str]:
        """What the user wrote, as options are called."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return ["FILE" if name == "second" else f"--{name}" for name, x in values.items() if x]

    def options(self) -> "InitOptions":
        """As the pipeline takes them."""
        from ..config.units import parse_budget_s
        from ..pipeline.init import InitOptions

        return InitOptions(
            train=tuple(name for name in (self.train, self.second) if name),
            valid=self.valid,
            test=self.test,
            checkpoint=self.checkpoint,
            size=self.size,
            time_s=parse_budget_s(self.time) if self.time is not None else None,
            languages=_languages(self.languages),
            text=self.text,
            label=self.label,
            num_winners=self.winners or 1,
        )


NO_DATA = DataOptions()


def init(
    common: Common,
    data: DataOptions = NO_DATA,
    recipe: Annotated[
        str | None,
        typer.Option(help=f"Template: {', '.join(list_recipes())}.", show_default="tiny"),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Device profile to name in it: local, rpi, or another of `devices list`.",
            show_default="none, which is this machine",
        ),
    ] = None,
) -> None:
    """Write a commented mosdeploy.toml, for your data or a template."""
    if data.train is not None and recipe is not None:
        raise typer.BadParameter("--recipe and --train: the run file of a template or of your data")
    if data.train is not None:
        from ..pipeline.init import init_from_data

        new = init_from_data(common.directory, data.options(), device, PROGRESS)
        common.show(new, _text(new), "mosdeploy train")
        return
    if data.given():
        raise typer.BadParameter(f"{data.given()[0]} is about your data: add --train FILE")
    from ..pipeline.init import init as write

    written = write(common.directory, recipe or "tiny", device)
    common.show(written, f"wrote {written.path}", "mosdeploy train")


def _languages(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    source, _, target = text.partition("-")
    if not (source and target) or "-" in target:
        raise typer.BadParameter(f"--languages {text}: write the source and the target, like en-de")
    return source, target


def _text(new: "NewRun") -> str:
    estimate = new.estimate
    rows = [(verb, time, estimate.notes.get(verb, "")) for verb, time in estimate.expected.items()]
    facts = [f"{name:<11} {fact}" for name, fact in new.found.items()]
    then = table(("then", "takes here", "for"), rows)
    return "\n".join([*facts, f"wrote {new.path}", "", then, estimate.total])
