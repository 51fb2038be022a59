"""What the training of a subnet alone was begun with, beside the state that it resumes from."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from ..config.sections import TrainingConfig
from ..errors import StaleInputError
from ..record import Record
from ..run_folder.trained_run import TrainedRun
from ..run_folder.trained_settings import changed, flat
from ..storage import disk_errors, readable_record, write_record

BEGUN = "begun.json"
SUPERNET = "the supernet"
FOLLOWING = ("training.warmup_steps",)
"""Keys that follow from others."""


class BegunSubnet(Record):
    """`settings` is what the weights depend on, `others` the same of what is no key of the run
    file, by its fingerprint; `command` is what began it.
    """

    version: Literal[1] = 1
    settings: dict[str, JsonValue]
    others: dict[str, str | None]
    command: str

    def is_from(self, supernet_sha256: str | None) -> bool:
        """Whether the weights come from this supernet, or from none; another one is gone, and what
        was begun with it cannot go on.
        """
        return self.others.get(SUPERNET) in (None, supernet_sha256)


def begun(
    state: TrainedRun,
    config: TrainingConfig,
    inherited_share: float,
    others: Mapping[str, str | None],
    command: str,
) -> BegunSubnet:
    """What a training of this run begins with."""
    card = state.card
    sections = {"supernet": state.config.supernet, "training": config.fingerprinted}
    settings = {
        name: value
        for section, record in sections.items()
        for name, value, _ in flat(record, section)
        if name not in FOLLOWING
    }
    return BegunSubnet(
        settings=settings | {"finetune.inherited_share": inherited_share},
        others={"the data": card.data_sha256, "the tokenizer": card.tokenizer_sha256, **others},
        command=command,
    )


def begin(
    path: Path,
    state_path: Path,
    inputs_sha256: str,
    wanted: BegunSubnet,
    say: Callable[[str], None],
) -> None:
    """Note what the training of a subnet begins with."""
    from ..training.trainer import check_inputs

    begun_path = path.with_name(BEGUN)
    try:
        check_inputs(state_path, inputs_sha256)
    except StaleInputError as error:
        found = read_begun(begun_path)
        if found is not None and not found.is_from(wanted.others.get(SUPERNET)):
            say("a stopped training of it was of an earlier supernet: it is begun anew")
            with disk_errors(state_path):
                state_path.unlink()
            write_record(begun_path, wanted)
            return
        told = "" if found is None else f" ({', '.join(_differences(found, wanted))})"
        raise StaleInputError(f"{error}{told}") from error
    write_record(begun_path, wanted)


def read_begun(path: Path) -> BegunSubnet | None:
    """What lies in a folder; None where nothing does, as an earlier version left it."""
    return readable_record(BegunSubnet, path)


def _differences(found: BegunSubnet, wanted: BegunSubnet) -> list[str]:
    """In what a training that was begun is another one, and how it was begun."""
    keys = {**found.settings, **wanted.settings}
    pairs = {name: (found.settings.get(name), wanted.settings.get(name)) for name in keys}
    others = {**found.others, **wanted.others}
    return [
        *(changed(name, then, now) for name, (then, now) in pairs.items() if then != now),
        *(f"{x} is another now" for x in others if found.others.get(x) != wanted.others.get(x)),
        f"it was begun by `{found.command}`",
    ]
