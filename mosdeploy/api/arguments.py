"""What programs give to the verbs: checked where Python would take it for something else, as a text
for a list of its letters.
"""

import functools
import inspect
import reprlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BeforeValidator, ConfigDict, ValidationError, validate_call
from pydantic_core import PydanticCustomError

from ..errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

_NOT_CHECKED = ("max_latency", "time", "runtime", "languages", "return")
"""What reads the first four says of any value what is allowed; the rest is not data."""

_TOLD = {
    str: "a valid string",
    int: "a valid integer",
    float: "a valid number",
    bool: "a valid boolean",
}

_SHORT = reprlib.Repr()
_SHORT.maxstring = 80
_SHORT.maxother = 80


def checked(function: F) -> F:
    """The same function, whose arguments are what its annotations say, or become it: numbers of
    numpy are numbers; booleans and texts are none.
    """
    signature = inspect.signature(function)
    annotations = {x.name: _kind(x.annotation) for x in signature.parameters.values()}
    hints = {
        # a text is the name of what is not imported yet
        name: Any if name in _NOT_CHECKED or isinstance(hint, str) else _as_written(hint)
        for name, hint in annotations.items()
    }

    def arguments(*given: Any, **named: Any) -> Any:
        return given, named

    arguments.__annotations__ = hints
    arguments.__signature__ = signature  # type: ignore[attr-defined]
    taken = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(arguments)

    @functools.wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        try:
            signature.bind(*given, **named)
        except TypeError:
            return function(*given, **named)  # Python's own words name the function
        try:
            given, named = taken(
                *map(_listed, given), **{name: _listed(x) for name, x in named.items()}
            )
        except ValidationError as error:
            raise ConfigError(_words(error, list(signature.parameters))) from error
        return function(*given, **named)

    call.__signature__ = signature  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def _kind(hint: Any) -> Any:
    """Return the type of a field, without how the command line writes it."""
    return hint.__origin__ if get_origin(hint) is Annotated else hint


def _as_written(hint: Any) -> Any:
    """A type that takes no boolean for a number, and no text for a number or a boolean."""
    kinds = {hint, *get_args(hint)}
    told = " or ".join(name for kind, name in _TOLD.items() if kind in kinds)

    def check(given: Any) -> Any:
        for item in given if isinstance(given, list | tuple) else [given]:
            kind = bool if isinstance(item, bool) else str
            if told and isinstance(item, kind) and kind not in kinds:
                raise PydanticCustomError("converted", f"Input should be {told}")
        return given

    return Annotated[hint, BeforeValidator(check)]


def _listed(given: Any) -> Any:
    """An array of one dimension, or a column of a table, as a list."""
    return given.tolist() if getattr(given, "ndim", None) == 1 else given


def _words(error: ValidationError, names: Sequence[str]) -> str:
    found = error.errors()
    place = found[0]["loc"][0]  # the number of an argument without a name
    name = names[place] if isinstance(place, int) else place
    value = _SHORT.repr(found[0]["input"])
    if any(item["type"] == "sequence_str" for item in found):
        return f"{name}: {value} is one text, not a list of them; write [{value}]"
    # of a union there is one for each kind that it may be
    allowed = " or ".join(dict.fromkeys(x["msg"] for x in found if x["loc"][0] == place))
    return f"{name}: {value}: {allowed}"
