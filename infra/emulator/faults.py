"""Failure injection: rules that make one of the two APIs, or a machine behind them, fail as Hetzner's do at times."""

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

# What a rule does to a request, whichever API it asks.
REQUEST_KINDS = ("status", "reset", "slow")
# What a rule does to what stands behind the APIs.
BEHAVIOUR_KINDS = (
    "stuck-action",
    "no-return",
    "rescue-boots-disk",
    "firewall-stuck",
    "vswitch-stuck",
    "smart-fails",
)
Kind = Literal[
    "status",
    "reset",
    "slow",
    "stuck-action",
    "no-return",
    "rescue-boots-disk",
    "firewall-stuck",
    "vswitch-stuck",
    "smart-fails",
]


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


class FaultRule(BaseModel):
    """Strikes the requests that fit `api`, `method`, `path` and `server`: `times` times, after sparing `skip`."""

    model_config = ConfigDict(extra="forbid")

    id: int = 0
    kind: Kind
    api: Literal["hcloud", "robot"] | None = None
    method: str | None = None
    # A regular expression searched in the path.
    path: Annotated[str, AfterValidator(_pattern)] | None = None
    # Robot's server number or the cloud server's id; None is any.
    server: int | None = None
    # Of a stuck action: its command, such as "create_server".
    command: str | None = None
    # None: until the rule is removed.
    times: int | None = Field(default=1, ge=1)
    skip: int = Field(default=0, ge=0)
    hits: int = 0
    # Whether the request takes effect before its answer is lost or replaced.
    after: bool = False
    status: int = Field(default=500, ge=400, le=599)
    code: str | None = None
    message: str = "injected fault"
    # Of a slow answer: seconds. Of a refusal for the rate: what the answer calls its interval.
    seconds: float = Field(default=1.0, ge=0)
    interval: int = Field(default=60, ge=0)
    max_request: int = 200
    # The field's name in Robot's refusal; both have been seen.
    max_field: Literal["max_request", "max_requests"] = "max_request"

    @model_validator(mode="after")
    def _fits(self) -> "FaultRule":
        if self.kind in BEHAVIOUR_KINDS and (self.method or self.path):
            raise ValueError(f"a rule of kind {self.kind!r} is about what stands behind: it takes no method or path")
        if self.command and self.kind != "stuck-action":
            raise ValueError("command belongs to a rule of kind 'stuck-action'")
        return self

    @property
    def spent(self) -> bool:
        return self.times is not None and self.hits >= self.skip + self.times

    def strike(self) -> bool:
        """Count a fitting occasion; whether the rule strikes on it."""
        if self.spent:
            return False
        self.hits += 1
        return self.hits > self.skip


class Faults:
    """The rules in force. The list is the database's own, so that a restart keeps them and what they counted."""

    def __init__(self, rules: list[FaultRule]) -> None:
        self.rules = rules

    def add(self, rule: FaultRule) -> FaultRule:
        rule.id = max((r.id for r in self.rules), default=0) + 1
        self.rules.append(rule)
        return rule

    def replace(self, rules: Iterable[FaultRule]) -> None:
        self.rules.clear()
        for rule in rules:
            self.add(rule)

    def remove(self, ident: int) -> bool:
        before = len(self.rules)
        self.rules[:] = [r for r in self.rules if r.id != ident]
        return len(self.rules) < before

    def on_request(self, api: str, method: str, path: str) -> list[FaultRule]:
        """Every rule that strikes this request: a slow answer may also be a refusal."""
        return [
            rule
            for rule in self.rules
            if rule.kind in REQUEST_KINDS
            and rule.api in (None, api)
            and rule.method in (None, method)
            and (rule.path is None or re.search(rule.path, path))
            and (rule.server is None or re.search(rf"/{rule.server}(/|$)", path))
            and rule.strike()
        ]

    def strikes(self, kind: Kind, server: int | None = None, command: str | None = None) -> bool:
        """Whether a rule about what stands behind the APIs strikes now."""
        return any(
            rule.kind == kind
            and rule.server in (None, server)
            and (rule.command is None or rule.command == command)
            and rule.strike()
            for rule in self.rules
        )
