"""What programs give to the verbs: checked where Python would take it for something else, as a text
for a list of its letters.

In: a function with annotations. Out: the same function, which refuses what these do not allow.
"""

import functools
import inspect
import numbers
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from types import FunctionType, NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

from ..errors import ConfigError

Pick = str | int | Path
"""What names a subnet: a word, a number of the front, a latency, a JSON file."""

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

_READ_WITH_UNIT = ("max_latency", "time")
"""What reads these says of any value how it is written."""

_WORDS = {str: "a text", int: "a whole number", float: "a number", Path: "a path", NoneType: ""}
_PLURALS = {str: "texts", int: "whole numbers", Path: "paths"}

_SHORT = reprlib.Repr()
_SHORT.maxstring = 80
_SHORT.maxother = 80


def with_checked_arguments(verbs: C) -> C:
    """A class whose public methods check what they are given, as `checked` says."""
    for name, method in list(vars(verbs).items()):
        if isinstance(method, FunctionType) and not name.startswith("_"):
            setattr(verbs, name, checked(method))
    return verbs


def checked(function: F) -> F:
    """The same function, whose arguments are what its annotations say.

    A number is converted, as one of numpy. A list becomes a tuple, and so does one text or path
    where either a text or a list may be given.

    Raises
    ------
    ConfigError
        When called, if an argument is something else.

    Examples
    --------
    >>> @checked
    ... def measure(hosts: str | Sequence[str], budget: int | None = None) -> object:
    ...     return hosts, budget
    >>> measure("pi1", budget=12.0)
    (('pi1',), 12)
    >>> measure(["pi1", 2])
    Traceback (most recent call last):
        ...
    mosdeploy.errors.ConfigError: hosts takes a text or a list of texts, which 2 is not
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        try:
            bound = signature.bind(*given, **named)
        except TypeError:
            return function(*given, **named)  # Python's own words name the function
        for name, value in bound.arguments.items():
            if name not in _READ_WITH_UNIT:
                bound.arguments[name] = _taken(name, value, signature.parameters[name].annotation)
        return function(*bound.args, **bound.kwargs)

    return call  # type: ignore[return-value]


def _taken(name: str, value: Any, annotation: Any) -> Any:
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    if not all(kind in _WORDS or get_origin(kind) in (Sequence, Literal) for kind in kinds):
        return value  # Python, or what is called, judges these
    items = next((get_args(kind)[0] for kind in kinds if get_origin(kind) is Sequence), None)
    alone = tuple(kind for kind in kinds if get_origin(kind) is not Sequence)
    is_taken, taken = _converted(value, alone)
    if items is None:
        if not is_taken:
            raise ConfigError(f"{name} takes {_words(kinds)}, not {_SHORT.repr(value)}")
        return taken
    if is_taken:
        return taken if value is None else (taken,)
    if isinstance(value, str):
        raise ConfigError(
            f"{name}: {_SHORT.repr(value)} is one text, not a list of them; write "
            f"[{_SHORT.repr(value)}]"
        )
    return _listed(name, value, items, _words(kinds))


def _listed(name: str, value: Any, items: Any, allowed: str) -> tuple[Any, ...]:
    # neither the keys of a dict nor a set have an order that anyone meant
    if not isinstance(value, Iterable) or isinstance(value, bytes | Mapping | Set):
        raise ConfigError(f"{name} takes {allowed}, not {_SHORT.repr(value)}")
    of_items = get_args(items) if isinstance(items, UnionType) else (items,)
    found = []
    for item in value:
        is_taken, taken = _converted(item, of_items)
        if not is_taken:
            raise ConfigError(f"{name} takes {allowed}, which {_SHORT.repr(item)} is not")
        found.append(taken)
    return tuple(found)


def _converted(value: Any, kinds: tuple[Any, ...]) -> tuple[bool, Any]:
    """Whether a value is of one of these kinds, and what it then is."""
    for kind in kinds:
        if get_origin(kind) is Literal:
            if isinstance(value, str) and value in get_args(kind):
                return True, value
        elif kind in (int, float):
            is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if is_number and (kind is float or value == value // 1):
                return True, kind(value)
        elif isinstance(value, kind):
            return True, value
    return False, None


def _words(kinds: tuple[Any, ...]) -> str:
    words = []
    for kind in kinds:
        if get_origin(kind) is Literal:
            words += [repr(choice) for choice in get_args(kind)]
        elif get_origin(kind) is Sequence:
            (items,) = get_args(kind)
            of_items = get_args(items) if isinstance(items, UnionType) else (items,)
            words.append(f"a list of {' or '.join(_PLURALS[x] for x in of_items)}")
        elif kind is not NoneType:
            words.append(_WORDS[kind])
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
