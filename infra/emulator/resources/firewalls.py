"""Firewalls: rules, and what they are applied to. Kept and answered as Hetzner does; machines are not filtered."""

from ipaddress import ip_network
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import AfterValidator, BaseModel, model_validator

from infra.emulator.cloud import Cloud, require
from infra.emulator.errors import ApiError, invalid
from infra.emulator.labels import parse_selector
from infra.emulator.model import Action, Firewall, FirewallRule
from infra.emulator.resources.common import (
    Labels,
    Name,
    Update,
    action_routes,
    apply_update,
    pick,
    require_unused,
    resource_routes,
)
from infra.emulator.web import action_json, cloud_of, listed, read

RULES_MOST = 50


def _rule(rule: FirewallRule) -> FirewallRule:
    ips = rule.source_ips if rule.direction == "in" else rule.destination_ips
    other = rule.destination_ips if rule.direction == "in" else rule.source_ips
    if not ips or other:
        wanted = "source_ips" if rule.direction == "in" else "destination_ips"
        raise ValueError(f"a rule of direction {rule.direction!r} takes {wanted}, and only those")
    for text in ips:
        ip_network(text)
    if (rule.port is not None) != (rule.protocol in ("tcp", "udp")):
        raise ValueError("port belongs to tcp and udp rules, and is required there")
    if rule.port not in (None, "any"):
        _check_port(str(rule.port))
    return rule


def _check_port(port: str) -> None:
    parts = port.split("-")
    if not all(p.isdecimal() and 1 <= int(p) <= 65535 for p in parts) or len(parts) > 2:
        raise ValueError(f"{port!r} is neither a port (1-65535) nor a range of ports")
    if int(parts[0]) > int(parts[-1]):
        raise ValueError(f"{port!r} runs backwards")


def _rules(rules: list[FirewallRule]) -> list[FirewallRule]:
    if len(rules) > RULES_MOST:
        raise ValueError(f"{len(rules)} rules: a firewall takes at most {RULES_MOST}")
    return [_rule(rule) for rule in rules]


Rules = Annotated[list[FirewallRule], AfterValidator(_rules)]


class ServerRef(BaseModel):
    id: int


class SelectorRef(BaseModel):
    selector: str


class Target(BaseModel):
    type: Literal["server", "label_selector"]
    server: ServerRef | None = None
    label_selector: SelectorRef | None = None

    @model_validator(mode="after")
    def _named(self) -> "Target":
        if (self.server is None) == (self.type == "server") or (self.label_selector is None) == (
            self.type == "label_selector"
        ):
            raise ValueError(f"a target of type {self.type!r} takes exactly the field of that name")
        return self


class Create(BaseModel):
    name: Name
    labels: Labels = {}
    rules: Rules = []
    apply_to: list[Target] = []


class SetRules(BaseModel):
    rules: Rules


class ApplyTo(BaseModel):
    apply_to: list[Target]


class RemoveFrom(BaseModel):
    remove_from: list[Target]


def applied(cloud: Cloud, firewall: Firewall) -> set[int]:
    """Every server the firewall stands before, named or matched by label."""
    found = set(firewall.servers)
    for selector in firewall.selectors:
        matches = parse_selector(selector)
        found |= {s.id for s in cloud.db.servers.values() if matches(s.labels)}
    return found


def render(cloud: Cloud, firewall: Firewall) -> dict[str, Any]:
    by_label = []
    for selector in firewall.selectors:
        matches = parse_selector(selector)
        members = [s.id for s in cloud.db.servers.values() if matches(s.labels)]
        by_label.append(
            {
                "type": "label_selector",
                "label_selector": {"selector": selector},
                "applied_to_resources": [{"type": "server", "server": {"id": i}} for i in members],
            }
        )
    return {
        **firewall.model_dump(exclude={"servers", "selectors"}),
        "applied_to": [{"type": "server", "server": {"id": i}} for i in firewall.servers] + by_label,
    }


def apply(cloud: Cloud, firewall: Firewall, targets: list[Target]) -> list[Action]:
    actions = []
    for target in targets:
        if target.server:
            server = require(cloud.db.servers, "server", target.server.id)
            if server.id in firewall.servers:
                raise ApiError("firewall_already_applied", f"firewall is already applied to server {server.id}")
            firewall.servers.append(server.id)
            actions.append(cloud.actions.done("apply_firewall", ("firewall", firewall.id), ("server", server.id)))
        elif target.label_selector:
            parse_selector(target.label_selector.selector)
            firewall.selectors.append(target.label_selector.selector)
            actions.append(cloud.actions.done("apply_firewall", ("firewall", firewall.id)))
    return actions


def _remove(cloud: Cloud, firewall: Firewall, targets: list[Target]) -> list[Action]:
    actions = []
    for target in targets:
        if target.server:
            if target.server.id not in firewall.servers:
                raise invalid("remove_from", f"firewall is not applied to server {target.server.id}")
            firewall.servers.remove(target.server.id)
            refs = [("firewall", firewall.id), ("server", target.server.id)]
            actions.append(cloud.actions.done("remove_firewall", *refs))
        elif target.label_selector:
            if target.label_selector.selector not in firewall.selectors:
                raise invalid("remove_from", f"firewall is not applied to {target.label_selector.selector!r}")
            firewall.selectors.remove(target.label_selector.selector)
            actions.append(cloud.actions.done("remove_firewall", ("firewall", firewall.id)))
    return actions


async def create(request: web.Request) -> web.Response:
    body, cloud = await read(request, Create), cloud_of(request)
    require_unused("firewall", body.name, cloud.db.firewalls.values())
    firewall = Firewall(id=cloud.store.new_id(), name=body.name, labels=body.labels, rules=body.rules)
    actions = [cloud.actions.done("set_firewall_rules", ("firewall", firewall.id))] if body.rules else []
    actions += apply(cloud, firewall, body.apply_to)
    cloud.db.firewalls[firewall.id] = firewall
    return web.json_response(
        {"firewall": render(cloud, firewall), "actions": [action_json(a) for a in actions]}, status=201
    )


async def index(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    firewalls = list(cloud.db.firewalls.values())
    return listed(request, "firewalls", firewalls, lambda f: render(cloud, f), {"name": lambda f: f.name})


async def show(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    return web.json_response({"firewall": render(cloud, pick(request, cloud.db.firewalls, "firewall"))})


async def update(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    firewall = pick(request, cloud.db.firewalls, "firewall")
    apply_update("firewall", firewall, await read(request, Update), cloud.db.firewalls.values())
    return web.json_response({"firewall": render(cloud, firewall)})


async def delete(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    firewall = pick(request, cloud.db.firewalls, "firewall")
    if applied(cloud, firewall) or firewall.selectors:
        raise ApiError("resource_in_use", f"firewall with ID '{firewall.id}' is still in use")
    del cloud.db.firewalls[firewall.id]
    return web.Response(status=204)


async def act(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    firewall = pick(request, cloud.db.firewalls, "firewall")
    command = request.match_info["command"]
    match command:
        case "set_rules":
            firewall.rules = (await read(request, SetRules)).rules
            actions = [cloud.actions.done("set_firewall_rules", ("firewall", firewall.id))]
        case "apply_to_resources":
            actions = apply(cloud, firewall, (await read(request, ApplyTo)).apply_to)
        case "remove_from_resources":
            actions = _remove(cloud, firewall, (await read(request, RemoveFrom)).remove_from)
        case _:
            raise ApiError("not_found", f"firewalls have no action {command!r}")
    return web.json_response({"actions": [action_json(a) for a in actions]}, status=201)


def routes() -> list[web.RouteDef]:
    return action_routes("firewalls", "firewall", act) + resource_routes(
        "firewalls", index, create, show, update, delete
    )
