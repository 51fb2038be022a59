"""Frozen, strict models, and how text is read into one."""

import difflib
import json
import re
import textwrap
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from .errors import ConfigError, UnknownKeyError
from .notebook import HtmlTable
from .runtime.texts import unique_keys


class Record(HtmlTable, BaseModel):
    """A frozen, strict pydantic model: hashable, no unknown key, no silent conversion, no NaN or
    infinity. Notebooks show it as a table.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy with changes, as pydantic does, but without what `cached_property` computed from the
        old values.
        """
        copy = super().model_copy(update=update, deep=deep)
        for name in copy.__dict__.keys() - type(self).model_fields.keys():
            del copy.__dict__[name]
        return copy


R = TypeVar("R", bound=Record)


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._]*(-[A-Za-z0-9._]+)*", text):
        raise ValueError("a name holds letters, digits, '.', '_' and single '-' only")
    return text


Name = Annotated[str, Field(max_length=64), AfterValidator(_name)]
"""A name that is safe as a part of a file name: of a device, a workload, a language."""


def parse(model: type[R], data: Any, source: str) -> R:
    """Validate plain data (dicts, lists, numbers, strings) against a record type."""
    try:
        # by way of JSON: strict mode then takes lists for tuples and nothing else
        return model.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        found = error.errors()
        by_key: dict[tuple[int | str, ...], list[Any]] = {}  # a union may say several things of one
        for item in found:
            by_key.setdefault(_location(model, item, data), []).append(item)
        lines = [_explain(model, location, items) for location, items in by_key.items()]
        is_unknown = any(item["type"] == "extra_forbidden" for item in found)
        kind = UnknownKeyError if is_unknown else ConfigError
        raise kind(f"{source}: " + "; ".join(lines)) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: cannot be taken in: {_reason(error)}") from error


def load_json(text: bytes | str) -> Any:
    """Plain data of JSON text in which each key of an object is there once: of two, nobody can say
    which value is the right one.
    """
    return json.loads(text, object_pairs_hook=unique_keys)


def parse_json(model: type[R], text: bytes | str, source: str) -> R:
    """Read JSON into a record type."""
    try:
        data = load_json(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: not valid JSON: {_reason(error)}") from error
    return parse(model, data, source)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def read_json(path: Path) -> Any:
    """Read a JSON file as plain data."""
    return _read(path, "JSON", load_json)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file as plain data."""
    data: dict[str, Any] = _read(path, "TOML", tomllib.loads)
    return data


def _read(path: Path, kind: str, load: Callable[[str], Any]) -> Any:
    try:
        return load(path.read_text(encoding="utf-8-sig"))  # an editor may write a BOM
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:  # a number can be too large, a table too deep
        # of a key that is there twice, tomllib says no more
        twice = "a key is there twice: remove one"
        reason = _reason(error).replace("Cannot overwrite a value", twice)
        raise ConfigError(f"{path}: not valid {kind}: {reason}") from error


def _location(model: type[BaseModel], item: Any, data: Any) -> tuple[int | str, ...]:
    """Where in the data something is wrong, without pydantic's names for the types of a union."""
    location: tuple[int | str, ...] = ()
    missing = item["loc"][-1] if item["type"] == "missing" else None
    for part in item["loc"]:
        owner = _owner(model, location)
        is_key = isinstance(data, Mapping) and part in data
        is_field = owner is not None and part in owner.model_fields
        if isinstance(part, int) or is_key or is_field or part == missing or data is ...:
            location = (*location, part)
            is_item = isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
            # of what a validator put there, the data say nothing
            data = data[part] if is_key or is_item else ...
    return location


def _explain(model: type[BaseModel], location: tuple[int | str, ...], items: list[Any]) -> str:
    item = items[0]
    key = ".".join(str(part) for part in location) or "(top level)"
    if item["type"] == "extra_forbidden":
        owner = _owner(model, location[:-1])
        known = list(owner.model_fields) if owner else []
        near = [] if len(location) > 1 else _sections_with(model, str(location[0]))
        near = near or difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = (
            f"did you mean {' or '.join(map(repr, near))}?"
            if near
            else "known keys: " + ", ".join(sorted(known))
        )
        return f"unknown key '{key}'; {hint}"
    if item["type"] == "missing":
        return f"missing key '{key}'"
    messages = dict.fromkeys(x["msg"].removeprefix("Value error, ") for x in items)
    message = ", or ".join(messages).replace(", or Input ", ", or ")
    given = item["input"]
    # our own messages tell the value, or what of a section does not fit
    if item["type"] == "value_error" and (isinstance(given, dict) or str(given) in message):
        return f"'{key}': {message}"
    return f"'{key}': {message}, got {textwrap.shorten(repr(given), 80)}"


def _sections_with(model: type[BaseModel], key: str) -> list[str]:
    """A key of the top as one of each section that has such a key."""
    sections = {name: _record_type(field.annotation) for name, field in model.model_fields.items()}
    return [
        f"{name}.{key}" for name, owner in sections.items() if owner and key in owner.model_fields
    ]


def _owner(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The record type that a key belongs to."""
    here: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, int):
            continue  # an item of a tuple, whose record type is known already
        if here is None or part not in here.model_fields:
            return None
        here = _record_type(here.model_fields[part].annotation)
    return here


def _record_type(annotation: Any) -> type[BaseModel] | None:
    """The record type in an annotation such as `Layer`, `Layer | None` or `tuple[Layer, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _record_type(part))), None)
