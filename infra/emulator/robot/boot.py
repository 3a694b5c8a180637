"""/boot: what a server boots next. One order at a time, used up by the boot that follows it."""

from typing import Any, Literal

from infra.emulator.robot.account import Account, new_password
from infra.emulator.robot.errors import RobotRefusal, invalid_input, not_found
from infra.emulator.robot.form import Call
from infra.emulator.robot.model import BootOrder, DedicatedServer
from infra.emulator.robot.servers import ident

BootKind = Literal["rescue", "linux", "vnc"]
KINDS: tuple[BootKind, ...] = ("rescue", "linux", "vnc")
# The field that names what is booted, and what it may be.
CHOICES: dict[BootKind, tuple[str, tuple[str, ...]]] = {
    "rescue": ("os", ("linux", "vkvm")),
    "linux": ("dist", ("Debian 12 base", "Debian 13 base", "Ubuntu 24.04 LTS base")),
    "vnc": ("dist", ("Debian-12", "Fedora-42")),
}
LANGUAGES = ["en"]


def _keys(account: Account, prints: list[str]) -> list[dict[str, Any]]:
    found = [account.db.keys[f] for f in prints if f in account.db.keys]
    return [{"key": k.model_dump(include={"name", "fingerprint", "type", "size"})} for k in found]


def render(account: Account, server: DedicatedServer, kind: BootKind, order: BootOrder | None) -> dict[str, Any]:
    """Inactive, the choices are lists; active, what was chosen is a scalar, and `boot_time` appears."""
    field, choices = CHOICES[kind]
    body: dict[str, Any] = {
        **ident(server),
        field: order.os if order else list(choices),
        "arch": 64 if order else [64],
        "active": order is not None,
        "password": order.password if order else None,
    }
    if kind != "rescue":
        body["lang"] = order.lang if order else list(LANGUAGES)
    if kind != "vnc":
        body["authorized_key"] = _keys(account, order.keys) if order else []
        body["host_key"] = [{"key": key} for key in order.host_keys] if order else []
    if order:
        body["boot_time"] = order.boot_time
    return body


def _server(account: Account, call: Call) -> DedicatedServer:
    server = account.server(call.at["n"])
    if not server.rescue_available:
        raise not_found("no boot configuration available", "BOOT_NOT_AVAILABLE")
    return server


def _kind(call: Call) -> BootKind:
    for kind in KINDS:
        if call.at["kind"] == kind:
            return kind
    raise not_found("boot configuration not available for this server", "BOOT_NOT_AVAILABLE")


def _active(server: DedicatedServer, kind: BootKind) -> BootOrder | None:
    return server.boot if server.boot and server.boot.kind == kind else None


async def show_all(account: Account, call: Call) -> Any:
    server = _server(account, call)
    shown: dict[str, Any] = {kind: render(account, server, kind, _active(server, kind)) for kind in KINDS}
    return {"boot": {**shown, "windows": None, "plesk": None, "cpanel": None}}


async def show(account: Account, call: Call) -> Any:
    server, kind = _server(account, call), _kind(call)
    return {kind: render(account, server, kind, _active(server, kind))}


async def last(account: Account, call: Call) -> Any:
    server, kind = _server(account, call), _kind(call)
    order = server.last.get(kind)
    if order is None:
        raise not_found("no previous activation", "NOT_FOUND")
    if kind == "rescue" and account.db.settings.rescue_host_keys:
        order = order.model_copy(update={"host_keys": list(server.machine.rescue_host_keys)})
    # What was used up is shown as it was when it was active.
    return {kind: {**render(account, server, kind, order), "active": False}}


async def activate(account: Account, call: Call) -> Any:
    server, kind = _server(account, call), _kind(call)
    field, choices = CHOICES[kind]
    chosen, keys = call.need(field), call.many("authorized_key")
    if chosen not in choices:
        raise invalid_input(invalid=(field,))
    if call.get("arch") not in (None, "64"):
        raise invalid_input(invalid=("arch",))
    if any(f not in account.db.keys for f in keys):
        raise invalid_input(invalid=("authorized_key",))
    lang = None if kind == "rescue" else call.need("lang")
    if lang is not None and lang not in LANGUAGES:
        raise invalid_input(invalid=("lang",))
    if server.boot:
        raise RobotRefusal(409, "BOOT_ALREADY_ENABLED", f"a {server.boot.kind} boot configuration is already active")
    # Who comes with a key is not given a password.
    server.boot = BootOrder(kind=kind, os=chosen, lang=lang, keys=keys, password=None if keys else new_password())
    return {kind: render(account, server, kind, server.boot)}


async def deactivate(account: Account, call: Call) -> Any:
    server, kind = _server(account, call), _kind(call)
    if _active(server, kind):
        server.boot = None
    return {kind: render(account, server, kind, None)}
