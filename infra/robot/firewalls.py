"""Calls of /firewall and its templates. What is written is counted first: Robot answers too much with no firewall."""

from collections.abc import Iterator, Sequence
from typing import Any

from infra.robot.errors import NotFound, RobotError
from infra.robot.models import Firewall, FirewallTemplate, Rule, unwrapped, with_rules
from infra.robot.reading import Calls, UnknownShape, validate

RULES_MOST = 10


class TooManyRules(RobotError):
    """Robot takes ten rules a direction. More are not sent: the refusal would leave the server without any."""

    def __init__(self, call: str, direction: str, rules: Sequence[Rule]) -> None:
        named = ", ".join(rule.name or rule.action for rule in rules)
        super().__init__(
            call,
            f"{len(rules)} rules for {direction}, and Robot takes {RULES_MOST}; nothing was sent. Join networks or "
            f"openings into fewer: {named}",
        )


def form_of(rules: Sequence[Rule], direction: str) -> Iterator[tuple[str, str]]:
    for at, rule in enumerate(rules):
        for field, value in rule.model_dump(exclude_none=True).items():
            yield f"rules[{direction}][{at}][{field}]", str(value)


def count(call: str, rules_in: Sequence[Rule], rules_out: Sequence[Rule]) -> None:
    for direction, rules in (("input", rules_in), ("output", rules_out)):
        if len(rules) > RULES_MOST:
            raise TooManyRules(call, direction, rules)


class Firewalls(Calls):
    def get(self, number: int) -> Firewall:
        return self._firewall(f"GET /firewall/{number}", self.call("GET", f"/firewall/{number}"))

    def write(self, number: int, wall: Firewall) -> Firewall:
        """The whole firewall anew. The answer is 202, and half a minute of `in process` follows: look at `status`."""
        call = f"POST /firewall/{number}"
        count(call, wall.input, wall.output)
        form = [
            ("status", "disabled" if wall.status == "disabled" else "active"),
            ("filter_ipv6", str(wall.filter_ipv6).lower()),
            ("whitelist_hos", str(wall.whitelist_hos).lower()),
            ("port", wall.port),
            *form_of(wall.input, "input"),
            *form_of(wall.output, "output"),
        ]
        return self._firewall(call, self.call("POST", f"/firewall/{number}", form))

    def apply_template(self, number: int, template: int) -> Firewall:
        call = f"POST /firewall/{number}"
        return self._firewall(call, self.call("POST", f"/firewall/{number}", [("template_id", str(template))]))

    def clear(self, number: int) -> None:
        self.call("DELETE", f"/firewall/{number}")

    def templates(self) -> list[FirewallTemplate]:
        try:
            rows = self.call("GET", "/firewall/template")
        except NotFound:
            return []
        return [self._template("GET /firewall/template", row) for row in unwrapped(rows, "firewall_template")]

    def template(self, ident: int) -> FirewallTemplate:
        return self._wrapped("GET", f"/firewall/template/{ident}", [])

    def add_template(self, name: str, rules_in: Sequence[Rule], rules_out: Sequence[Rule]) -> FirewallTemplate:
        count("POST /firewall/template", rules_in, rules_out)
        form = [("name", name), ("whitelist_hos", "true"), ("is_default", "false")]
        return self._wrapped("POST", "/firewall/template", form + _both(rules_in, rules_out))

    def update_template(
        self, ident: int, name: str, rules_in: Sequence[Rule], rules_out: Sequence[Rule]
    ) -> FirewallTemplate:
        path = f"/firewall/template/{ident}"
        count(f"POST {path}", rules_in, rules_out)
        return self._wrapped("POST", path, [("name", name), *_both(rules_in, rules_out)])

    def delete_template(self, ident: int) -> None:
        self.call("DELETE", f"/firewall/template/{ident}")

    def _wrapped(self, method: str, path: str, form: list[tuple[str, str]]) -> FirewallTemplate:
        body = self.call(method, path, form)
        return self._template(f"{method} {path}", body.get("firewall_template") if isinstance(body, dict) else None)

    @staticmethod
    def _template(call: str, body: Any) -> FirewallTemplate:
        if not isinstance(body, dict):
            raise UnknownShape(call, "the answer holds no 'firewall_template'")
        return validate(call, with_rules(body), FirewallTemplate)

    @staticmethod
    def _firewall(call: str, body: Any) -> Firewall:
        inner = body.get("firewall") if isinstance(body, dict) else None
        if not isinstance(inner, dict):
            raise UnknownShape(call, "the answer holds no 'firewall'")
        return validate(call, with_rules(inner), Firewall)


def _both(rules_in: Sequence[Rule], rules_out: Sequence[Rule]) -> list[tuple[str, str]]:
    return [*form_of(rules_in, "input"), *form_of(rules_out, "output")]
