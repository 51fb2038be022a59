"""TOML text of a dictionary that was read from TOML; the standard library only reads it."""

import json
from collections.abc import Mapping
from typing import Any


def to_toml(data: Mapping[str, Any]) -> str:
    """Values first, then a section for each table; tables inside a section stand on one line.

    Examples
    --------
    >>> print(to_toml({"space": {"layers": [1, 2]}, "device": "rpi"}), end="")
    device = "rpi"
    <BLANKLINE>
    [space]
    layers = [1, 2]
    """
    values = {key: value for key, value in data.items() if not isinstance(value, Mapping)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in values.items()]
    for name, section in data.items():
        if name not in values:
            lines += ["", f"[{_key(name)}]"]
            lines += [f"{_key(key)} = {_value(value)}" for key, value in section.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{_key(key)} = {_value(inner)}" for key, inner in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_value(inner) for inner in value)}]"
    if isinstance(value, float):
        return repr(value)  # inf and nan as TOML spells them
    # of a string, a number or a boolean, JSON is TOML; but TOML wants a delete character escaped
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    is_bare = key.isascii() and key.replace("-", "_").isidentifier()
    return key if is_bare else _value(key)
