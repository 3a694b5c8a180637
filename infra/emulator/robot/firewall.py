"""/firewall: the stateless filter before a server, ten rules a direction, and templates of it."""

import re
from ipaddress import IPv4Network
from typing import Any

from pydantic import ValidationError

from infra.emulator.robot.account import Account
from infra.emulator.robot.errors import RobotRefusal, invalid_input, not_found
from infra.emulator.robot.form import Call
from infra.emulator.robot.model import DedicatedServer, FirewallTemplate, RobotFirewall, RobotRule

RULES_MOST = 10
# How long Hetzner's switch takes to have it.
APPLY_SECONDS = 25.0
PROTOCOLS = ("tcp", "udp", "gre", "icmp", "ipip", "ah", "esp")
_NAME = re.compile(r"[A-Za-z0-9 .\-+_@]*")
_FLAGS = re.compile(r"(syn|fin|rst|psh|urg|ack)([|&](syn|fin|rst|psh|urg|ack))*")
DIRECTIONS = ("input", "output")


def in_process(account: Account, firewall: RobotFirewall) -> bool:
    return firewall.settled_at is None or account.clock() < firewall.settled_at


def _rules(rules: list[RobotRule]) -> list[dict[str, Any]]:
    return [rule.model_dump() for rule in rules]


def render(account: Account, server: DedicatedServer) -> dict[str, Any]:
    wall = server.firewall
    return {
        "firewall": {
            "server_ip": server.ip,
            "server_number": server.number,
            "status": "in process" if in_process(account, wall) else wall.status,
            "filter_ipv6": wall.filter_ipv6,
            "whitelist_hos": wall.whitelist_hos,
            "port": wall.port,
            "rules": {"input": _rules(wall.input), "output": _rules(wall.output)},
        }
    }


def _ports_fit(text: str) -> bool:
    low, _, high = text.partition("-")
    high = high or low
    return low.isdecimal() and high.isdecimal() and 0 <= int(low) <= int(high) <= 65535


def _fits(rule: RobotRule) -> bool:
    """What the webservice takes; its answer to anything else never says which rule it was."""
    if not _NAME.fullmatch(rule.name or "") or (rule.protocol and rule.protocol not in PROTOCOLS):
        return False
    addresses = [a for a in (rule.src_ip, rule.dst_ip) if a]
    try:
        for text in addresses:
            IPv4Network(text, strict=False)
    except ValueError:
        return False
    # IPv6 is filtered by protocol and port only, and a rule for both families by neither.
    if addresses and rule.ip_version != "ipv4":
        return False
    if rule.protocol and rule.ip_version is None:
        return False
    ports = [p for p in (rule.src_port, rule.dst_port) if p]
    if ports and rule.protocol not in ("tcp", "udp"):
        return False
    if rule.tcp_flags and (rule.protocol != "tcp" or not _FLAGS.fullmatch(rule.tcp_flags)):
        return False
    return all(_ports_fit(p) for p in ports)


def parse_rules(call: Call) -> dict[str, list[RobotRule]]:
    tree = call.tree("rules")
    parsed: dict[str, list[RobotRule]] = {}
    for direction in DIRECTIONS:
        given = tree.get(direction) or {}
        if not isinstance(given, dict):
            raise invalid_input(invalid=("rules",))
        order = sorted(given, key=lambda i: int(i) if i.isdecimal() else 0)
        try:
            rules = [RobotRule.model_validate({k: v or None for k, v in given[i].items()}) for i in order]
        except (ValidationError, AttributeError):
            raise invalid_input(invalid=("rules",)) from None
        if len(rules) > RULES_MOST or not all(_fits(r) for r in rules):
            raise invalid_input(invalid=("rules",))
        parsed[direction] = rules
    return parsed


async def show(account: Account, call: Call) -> Any:
    return render(account, account.server(call.at["n"]))


def _free(account: Account, call: Call) -> DedicatedServer:
    server = account.server(call.at["n"])
    if in_process(account, server.firewall):
        raise RobotRefusal(409, "FIREWALL_IN_PROCESS", "the firewall cannot be updated: an update is running")
    return server


def _begin(account: Account, server: DedicatedServer, wall: RobotFirewall) -> None:
    stuck = account.faults.strikes("firewall-stuck", server.number)
    server.firewall = wall.model_copy(update={"settled_at": None if stuck else account.later(APPLY_SECONDS)})


async def write(account: Account, call: Call) -> Any:
    server = _free(account, call)
    old = server.firewall
    if ident_ := call.get("template_id"):
        if call.get("whitelist_hos") or call.tree("rules"):
            raise invalid_input(invalid=("template_id",))
        template = _template(account, ident_)
        new = RobotFirewall(status="active", **template.model_dump(exclude={"id", "name", "is_default"}))
    else:
        status = call.need("status")
        if status not in ("active", "disabled"):
            raise invalid_input(invalid=("status",))
        port = call.get("port") or old.port
        if port not in ("main", "kvm"):
            raise RobotRefusal(404, "FIREWALL_PORT_NOT_FOUND", "the port was not found")
        filter_ipv6, whitelist = call.flag("filter_ipv6"), call.flag("whitelist_hos")
        try:
            rules = parse_rules(call)
        except RobotRefusal:
            # As measured: the refusal of a set of rules leaves the server with none.
            server.firewall = RobotFirewall(filter_ipv6=old.filter_ipv6, whitelist_hos=old.whitelist_hos, port=old.port)
            raise
        new = RobotFirewall(
            status="active" if status == "active" else "disabled",
            filter_ipv6=old.filter_ipv6 if filter_ipv6 is None else filter_ipv6,
            whitelist_hos=old.whitelist_hos if whitelist is None else whitelist,
            port="kvm" if port == "kvm" else "main",
            **rules,
        )
    _begin(account, server, new)
    return 202, render(account, server)


async def clear(account: Account, call: Call) -> Any:
    server = _free(account, call)
    _begin(account, server, RobotFirewall(port=server.firewall.port))
    shown = render(account, server)
    # An object here, where everything else is a list.
    shown["firewall"]["rules"] = {}
    return 202, shown


def _template(account: Account, text: str) -> FirewallTemplate:
    template = account.db.templates.get(int(text)) if text.isdecimal() else None
    if template is None:
        raise not_found("firewall template not found")
    return template


def _render_template(template: FirewallTemplate, *, rules: bool = True) -> dict[str, Any]:
    shown: dict[str, Any] = {
        **ident_of(template),
        "filter_ipv6": template.filter_ipv6,
        "whitelist_hos": template.whitelist_hos,
        "is_default": template.is_default,
    }
    if rules:
        shown["rules"] = {"input": _rules(template.input), "output": _rules(template.output)}
    return {"firewall_template": shown}


def ident_of(template: FirewallTemplate) -> dict[str, Any]:
    return {"id": template.id, "name": template.name}


async def templates(account: Account, _call: Call) -> Any:
    if not account.db.templates:
        raise not_found("no firewall templates found")
    return [_render_template(t, rules=False) for t in account.db.templates.values()]


async def show_template(account: Account, call: Call) -> Any:
    return _render_template(_template(account, call.at["id"]))


def _fill(account: Account, template: FirewallTemplate, call: Call) -> FirewallTemplate:
    for field in ("filter_ipv6", "whitelist_hos", "is_default"):
        if (flag := call.flag(field)) is not None:
            setattr(template, field, flag)
    if call.tree("rules"):
        rules = parse_rules(call)
        template.input, template.output = rules["input"], rules["output"]
    if template.is_default:
        for other in account.db.templates.values():
            other.is_default = other.id == template.id
    return template


async def create_template(account: Account, call: Call) -> Any:
    template = _fill(account, FirewallTemplate(id=account.store.new_id(), name=call.need("name")), call)
    account.db.templates[template.id] = template
    return _render_template(template)


async def update_template(account: Account, call: Call) -> Any:
    template = _template(account, call.at["id"])
    template.name = call.get("name") or template.name
    return _render_template(_fill(account, template, call))


async def delete_template(account: Account, call: Call) -> Any:
    del account.db.templates[_template(account, call.at["id"]).id]
    return None
