"""What the training of a subnet alone was begun with, beside the state that it resumes from.

In: a training. Out: a record in its folder; of a state that is refused or was left, words. Nothing
is trained.
"""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from ..errors import StaleInputError
from ..record import Record
from ..storage import read_record, write_record
from .trained_settings import changed, flat

if TYPE_CHECKING:
    from .subnet_training import SubnetTraining

BEGUN = "begun.json"
FOLLOWING = ("training.warmup_steps",)
"""Keys that follow from others."""


class BegunSubnet(Record):
    """`settings` is what the weights depend on, `others` the same of what is no key of the run
    file, by its fingerprint; `command` is what began it.
    """

    version: Literal[1] = 1
    settings: dict[str, JsonValue]
    others: dict[str, str]
    command: str


def begin(training: "SubnetTraining") -> None:
    """Note what a training begins with.

    Raises
    ------
    StaleInputError
        If the state in its folder is of another one, or corrupt; told is in what it is another.
    """
    from ..training.trainer import check_inputs

    path = training.path.with_name(BEGUN)
    wanted = _begun(training)
    try:
        check_inputs(training.checkpoint_path, training.inputs_sha256)
    except StaleInputError as error:
        found = read_begun(path)
        told = "" if found is None else f" ({', '.join(_differences(found, wanted))})"
        raise StaleInputError(f"{error}{told}") from error
    write_record(path, wanted)


def read_begun(path: Path) -> BegunSubnet | None:
    """What lies in a folder; None where nothing does, as an earlier version left it."""
    with contextlib.suppress(StaleInputError):
        return read_record(BegunSubnet, path, "mosdeploy finetune")
    return None


def _begun(training: "SubnetTraining") -> BegunSubnet:
    card = training.state.card
    sections = {
        "supernet": training.state.config.supernet,
        "training": training.config.fingerprinted,
    }
    settings = {
        name: value
        for section, record in sections.items()
        for name, value, _ in flat(record, section)
        if name not in FOLLOWING
    }
    return BegunSubnet(
        settings=settings | {"finetune.inherited_share": training.inherited_share},
        others={
            "the data": card.data_sha256,
            "the tokenizer": card.tokenizer_sha256,
            "the supernet": training.supernet_sha256 or "",
            "the start": training.made_from_sha256 or "",
            "the teaching": " ".join(map(str, training.teaching.sha256)),
        },
        command=training.command,
    )


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
