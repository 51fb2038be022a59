"""Keys of a run file that are given other values before it is written."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ..errors import ConfigError
from ..family.plan import Setting

WHY = "given to init"


def with_settings(text: str, settings: Mapping[str, Any]) -> str:
    r"""The text of a run file in which some keys have other values."""
    for name, value in settings.items():
        text = _with_setting(text, name, value)
    return text


def _with_setting(text: str, name: str, value: Any) -> str:
    section, _, key = name.rpartition(".")
    try:
        plain = json.loads(json.dumps(value, default=_plain))
        changed = _replaced(text.splitlines(), section, Setting(key, plain, WHY).line)
        is_there = tomllib.loads(changed) == _expected(text, section, key, plain)
    except (AttributeError, TypeError, ValueError):  # no JSON; no TOML
        is_there = False
    if not is_there:
        raise ConfigError(
            f"'{name}' cannot be set to {value!r} here: a setting is a string, a number, a boolean "
            "or a list of them, by its section.key; change all else in mosdeploy.toml"
        )
    return changed


def _plain(value: Any) -> Any:
    """A path, a number or an array of numpy as TOML holds it."""
    return str(value) if isinstance(value, PurePath) else value.tolist()


def _replaced(lines: list[str], section: str, line: str) -> str:
    """The line in place of the one with its key, else first in its section, last at the top."""
    header = f"[{section}]"
    heads = [i for i, x in enumerate(lines) if x.startswith("[")]
    if section and not any(_is_header(lines[i], header) for i in heads):
        return "\n".join([*lines, "", header, line]) + "\n"
    start = next((i for i in heads if _is_header(lines[i], header)), -1) + 1
    stop = next((i for i in heads if i >= start), len(lines))
    key = line.partition(" ")[0]
    at = next((i for i in range(start, stop) if re.match(rf"{re.escape(key)}\s*=", lines[i])), None)
    if at is None:
        lines.insert(start if section else stop, line)
    else:
        lines[at] = line
    return "\n".join(lines) + "\n"


def _is_header(line: str, header: str) -> bool:
    return line.partition("#")[0].strip() == header


def _expected(text: str, section: str, key: str, value: Any) -> dict[str, Any]:
    """What the changed text should hold."""
    data = tomllib.loads(text)
    place = data.setdefault(section, {}) if section else data
    place[key] = value
    return data
