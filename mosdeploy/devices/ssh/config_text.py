"""Read an ssh_config as one text that a parser takes as OpenSSH takes the file."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from ...errors import ConfigError
from .config import DEFAULT_PATH, KNOWN_HOSTS_KEYS, split_words

_MAX_DEPTH = 16  # as OpenSSH
_SETTING = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.+)")
_WITHOUT_VALUE = ("all", "canonical", "final")
_CRITERIA = (*_WITHOUT_VALUE, "host", "originalhost", "user", "localuser", "exec")
"""What the parser knows; any other it takes for one that is met."""
_CHANGING = ("host", "user", "exec")
"""What may be met at the begin of a block, and not behind the lines that follow."""


@dataclass(frozen=True)
class _Block:
    """What holds for some hosts; without criteria, for all."""

    criteria: tuple[tuple[str, ...], ...] = ()

    @property
    def line(self) -> str:
        """The line that begins it."""
        words = [word for criterion in self.criteria for word in criterion]
        return f"Match {shlex.join(words)}" if words else "Host *"

    @property
    def is_lasting(self) -> bool:
        """Whether it can be begun anew within itself."""
        return not any(name.removeprefix("!") in _CHANGING for name, *_ in self.criteria)

    def within(self, outer: "_Block") -> "_Block":
        """The same, in a file that is included by another block."""
        return _Block((*outer.criteria, *self.criteria))


def read_ssh_config(path: Path) -> str:
    """Text of an ssh_config with its Include lines replaced by what they name."""
    path = path.expanduser()
    if not path.exists() and path == DEFAULT_PATH.expanduser():
        return ""
    return "\n".join(_expand(path, _Block(), depth=0)) + "\n"


def _expand(path: Path, outer: _Block, depth: int) -> list[str]:
    """Lines of a file that a block includes; the first file is within no block."""
    if depth > _MAX_DEPTH:
        raise ConfigError(f"{path}: too many levels of Include")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"ssh config {path} cannot be read: {error}") from error
    block = outer
    out: list[str] = []
    for number, line in enumerate(lines, 1):
        setting = _SETTING.fullmatch(line)
        if not setting:  # a comment, or what the parser refuses
            out.append(line)
            continue
        key, value = setting[1].lower(), setting[2].strip()
        where = f"ssh config {path}, line {number}"
        if not key.endswith("command"):  # these go to a shell as they are
            value = _without_comment(value)
        if key == "include":
            out += _included(value, block, depth + 1, where)
        elif key in ("host", "match"):
            own = _host(value, where) if key == "host" else _match(value, where)
            block = own.within(outer)
            out.append(block.line)
        else:
            # the parser takes one pair of quotes away, and two files need theirs
            out.append(f'{key} "{value}"' if key in KNOWN_HOSTS_KEYS else f"{key} {value}")
    return out


def _included(patterns: str, block: _Block, depth: int, where: str) -> list[str]:
    """Lines of the files that an Include names; behind them its block goes on."""
    out: list[str] = []
    for pattern in split_words(patterns, where):
        full = Path("~/.ssh").expanduser() / Path(pattern).expanduser()
        for file in sorted(Path(full.anchor).glob(str(full.relative_to(full.anchor)))):
            if not file.is_file():
                continue
            lines = _expand(file, block, depth)
            out += lines
            if not any(line.startswith(("Host ", "Match ")) for line in lines):
                continue
            if not block.is_lasting:
                raise ConfigError(
                    f"{where}: {file} has Host or Match lines of its own, which is not "
                    f"supported in a Match with {', '.join(_CHANGING)}; put the Include at the top "
                    "of the file, or into a Host block"
                )
            out.append(block.line)
    return out


def _host(value: str, where: str) -> _Block:
    patterns = ",".join(split_words(value, where))
    return _Block((("originalhost", patterns),))


def _match(value: str, where: str) -> _Block:
    """What a Match asks for, without `all`."""
    criteria: list[tuple[str, ...]] = []
    words = iter(split_words(value, where))
    for word in words:
        criterion = word.lower()
        name = criterion.removeprefix("!")
        if name not in _CRITERIA or criterion == "!all":
            raise ConfigError(
                f"{where}: Match '{word[:80]}' is not supported, only {', '.join(_CRITERIA)}; take "
                "the block out, or name a file without it with --ssh-config"
            )
        if name in _WITHOUT_VALUE:
            criteria += [(criterion,)] if name != "all" else []
            continue
        argument = next(words, None)
        if argument is None:
            raise ConfigError(f"{where}: Match {criterion} says nothing; write what it is to be")
        criteria.append((criterion, argument))
    return _Block(tuple(criteria))


def _without_comment(text: str) -> str:
    """The text before a `#` that begins a word, outside quotes."""
    quote = ""
    previous = " "
    for index, character in enumerate(text):
        if character == "#" and not quote and previous.isspace():
            return text[:index].rstrip()
        if character in "\"'" and previous != "\\" and quote in ("", character):
            quote = "" if quote else character
        previous = character
    return text
