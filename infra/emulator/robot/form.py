"""A request to the webservice, and what its form-encoded body says: scalars, lists, a firewall's rules."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from infra.emulator.robot.errors import invalid_input

_PART = re.compile(r"\[([^\]]*)\]")


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    form: tuple[tuple[str, str], ...] = ()
    query: dict[str, str] = field(default_factory=dict)
    # What the path names, such as the server's number.
    at: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, method: str, path: str, body: str = "", query: dict[str, str] | None = None) -> "Call":
        return cls(method, path, tuple(parse_qsl(body, keep_blank_values=True)), query or {})

    def get(self, name: str) -> str | None:
        """The last value of that name; None where it is absent or empty."""
        values = [value for key, value in self.form if key == name]
        return values[-1] or None if values else None

    def need(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise invalid_input(missing=(name,))
        return value

    def many(self, name: str) -> list[str]:
        """`name=a&name=b`, `name[]=a&name[]=b` and `name[0]=a&name[1]=b` are the same list."""
        return [value for key, value in self.form if value and re.fullmatch(re.escape(name) + r"(\[\d*\])?", key)]

    def flag(self, name: str) -> bool | None:
        value = self.get(name)
        if value is None:
            return None
        if value.lower() not in ("true", "false", "1", "0"):
            raise invalid_input(invalid=(name,))
        return value.lower() in ("true", "1")

    def tree(self, name: str) -> dict[str, Any]:
        """`name[a][0][b]=x` as {"a": {"0": {"b": "x"}}}."""
        root: dict[str, Any] = {}
        for key, value in self.form:
            if not key.startswith(name + "["):
                continue
            parts = _PART.findall(key[len(name) :])
            at = root
            for part in parts[:-1]:
                below = at.setdefault(part, {})
                if not isinstance(below, dict):
                    raise invalid_input(invalid=(name,))
                at = below
            at[parts[-1]] = value
        return root
