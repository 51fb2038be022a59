"""The keys of the run file that a supernet depends on, as they were when it was trained."""

import json
from collections.abc import Iterator, Mapping

from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from ..config import RunConfig
from ..record import Record

UNSET = "unset"


def trained_settings(config: RunConfig) -> dict[str, JsonValue]:
    """What the weights of a supernet depend on, by `section.key`; limits apart, and where there is
    a budget with the steps that it gives.
    """
    return {name: value for name, value, _ in _keys(config)}


def setting_differences(
    kept: Mapping[str, JsonValue] | None, config: RunConfig, section: str = ""
) -> list[str]:
    """In which keys the run file differs from what was kept; none where nothing was."""
    if kept is None:
        return []
    then = {name: default for name, _, default in _keys(config)} | dict(kept)
    now = trained_settings(config)
    return [
        changed(name, value, now.get(name))
        for name, value in then.items()
        if name.startswith(section) and value != now.get(name)
    ]


def names_data(differences: list[str], config: RunConfig) -> bool:
    """Whether differences name a key that the digest of the data covers, and so explain another."""
    sections = tuple(f"{name}." for name in config.data_sections)
    return any(found.startswith(sections) for found in differences)


def because(differences: list[str]) -> str:
    """Differences as the end of a clause; nothing where none are known."""
    return f": {', '.join(differences)}" if differences else ""


def _keys(config: RunConfig) -> Iterator[tuple[str, JsonValue, JsonValue]]:
    yield "vocab_size", config.vocab_size, None
    yield "max_tokens", config.max_tokens, None
    yield from flat(config.space, "space")
    yield from flat(config.supernet, "supernet")
    yield from flat(config.training.fingerprinted, "training")
    for section, record in config.data_sections.items():
        yield from flat(record, section)


def flat(record: Record, section: str) -> Iterator[tuple[str, JsonValue, JsonValue]]:
    """Each key of a section with its value and its default; None for one that has none."""
    for name, field in type(record).model_fields.items():
        value = getattr(record, name)
        if isinstance(value, Record):
            yield from flat(value, f"{section}.{name}")
        elif not field.exclude:
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            yield f"{section}.{name}", to_jsonable_python(value), to_jsonable_python(default)


def changed(name: str, then: JsonValue, now: JsonValue) -> str:
    """That a key had another value, in words."""
    return f"{name} was {_told(then)}, is {_told(now)} now"


def _told(value: JsonValue) -> str:
    return UNSET if value is None else json.dumps(value, ensure_ascii=False)
