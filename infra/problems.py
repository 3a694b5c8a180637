"""What is wrong with a description, said for the person who wrote it: where, what, and how to mend it."""

import difflib
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails


@dataclass(frozen=True)
class Problem:
    where: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.mend}."


class InvalidSite(Exception):
    """A site description that cannot be built; the message lists every problem found, a short paragraph each."""

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        super().__init__("\n\n".join([f"{source}: {count}; nothing was changed.", *map(str, self.problems)]))


class Refusal(ValueError):
    """Raised by a model's validator: what is wrong, and how to mend it, without the place (pydantic knows it)."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a person may have meant, or None."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def choose(word: str, known: Iterable[str]) -> str:
    """How to mend an unknown word: the one that was meant, or all that there are."""
    names = list(known)
    meant = closest(word, names)
    return f'Write "{meant}"' if meant else f"Choose from {', '.join(names)}"


def from_pydantic(model: type[BaseModel], errors: Iterable[ErrorDetails]) -> list[Problem]:
    return [_translate(model, details) for details in errors]


def _translate(model: type[BaseModel], details: ErrorDetails) -> Problem:
    loc = tuple(part for part in details["loc"] if part != "[key]")
    where = path_text(loc)
    kind = details["type"]
    given = details["input"]
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, Refusal):
        return Problem(where, cause.what, cause.mend)
    match kind:
        case "extra_forbidden":
            return Problem(where, f'unknown key "{loc[-1]}"', choose(str(loc[-1]), _keys_at(model, loc[:-1])))
        case "missing":
            return Problem(where, "this key is missing", f'Add "{loc[-1]}" under {path_text(loc[:-1])}')
        case "literal_error":
            allowed = [str(a).strip("'") for a in str(details["ctx"]["expected"]).replace(" or ", ", ").split(", ")]
            return Problem(where, f'"{given}" is not known here', choose(str(given), allowed))
    shown = "nothing" if given is None else f'"{given}"' if isinstance(given, str | int | float) else "this"
    message = details["msg"].removeprefix("Value error, ")
    return Problem(where, f"{shown} does not fit: {message[0].lower()}{message[1:]}", f"Correct the value of {where}")


def path_text(loc: Iterable[int | str]) -> str:
    return ".".join(str(part) for part in loc) or "the site"


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that a mapping at this place may have."""
    at: Any = model
    for part in loc:
        models = _models_in(at)
        if any(str(part) in m.model_fields for m in models):
            at = next(m.model_fields[str(part)].annotation for m in models if str(part) in m.model_fields)
        # Any other part names an entry of a mapping or a list: its type is among the arguments of the annotation.
    return [name for m in _models_in(at) for name in m.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        return [m for argument in typing.get_args(annotation) for m in _models_in(argument)]
    return []
