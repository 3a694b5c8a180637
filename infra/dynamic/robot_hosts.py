"""What the providers of dedicated servers and vSwitches do: a thin layer over `infra.robot`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface, IPv4Network
from typing import Any

from infra.access import close_connections
from infra.dynamic.robot_access import RobotAccess, access, login_of
from infra.robot.errors import NotFound, RobotError
from infra.robot.firewall_apply import same, wait_settled
from infra.robot.firewall_rules import Opening, robot_firewall
from infra.robot.install.machine import install
from infra.robot.install.record import Record
from infra.robot.install.wanted import OnVSwitch, Wanted
from infra.robot.storage import Storage
from infra.robot.vlan import VlanLink

# The parent interface of a host's VLAN is found out on the host: this stands for it until then.
_PARENT = "eth0"


@contextmanager
def _reached(site: str, props: dict[str, Any]) -> Iterator[RobotAccess]:
    try:
        yield access(site, str(props["stack"]))
    except RobotError:
        # Pulumi's plugin shows the traceback of whatever is raised; the message says all that a person needs.
        sys.tracebacklimit = 0
        raise


def wanted_of(props: dict[str, Any]) -> Wanted:
    """Numbers come from Pulumi as floats."""
    said, number = props["wanted"], int(props["number"])
    link = VlanLink(
        _PARENT,
        int(said["vlan"]),
        IPv4Interface(f"{said['address']}/{IPv4Network(said['subnet']).prefixlen}"),
        ((IPv4Network(said["cidr"]), IPv4Network(said["subnet"])[1]),),
    )
    openings = [Opening(o["port"], tuple(o["sources"]), o["protocol"], o["name"]) for o in said["openings"]]
    consent = said.get("allow_reinstall")
    return Wanted(
        number=number,
        hostname=str(props["hostname"]),
        storage=Storage.model_validate(said["storage"]),
        public_key=said["public_key"],
        image=said["image"],
        product=said.get("product"),
        location=said.get("location"),
        cpus=int(said["cpus"]),
        memory_gib=int(said["memory_gib"]),
        allow_reinstall=None if consent is None else int(consent),
        generation=int(said["generation"]),
        reverse_dns=said.get("reverse_dns"),
        vswitch=OnVSwitch(int(props["vswitch_id"]), link),
        firewall=robot_firewall(number, said["admin"], openings, said["cidr"]),
    )


def refusal(olds: dict[str, Any], news: dict[str, Any]) -> str | None:
    """Why this change of a host's inputs is not made: it would install it anew, and nobody has said so."""
    if not olds.get("wanted") or olds.get("number") != news.get("number"):
        return None
    # In a preview the vSwitch may not be known yet; what is installed does not hang on it.
    before, wanted = (wanted_of({**props, "vswitch_id": 0}) for props in (olds, news))
    if wanted.install_id == before.install_id or wanted.consented:
        return None
    return (
        f"{wanted.hostname} (server {wanted.number}) was installed with other disks, layout or image: this change "
        "would install it anew, and all that is on its disks would be lost. Take the change back, or say so with the "
        f"server's own number (allow_reinstall: {wanted.number})"
    )


def bring_up(site: str, props: dict[str, Any]) -> dict[str, Any]:
    """The host installed, on its vSwitch and behind its firewall; at once where it is so already."""
    with _reached(site, props) as to:
        record = install(wanted_of(props), to.robot, login_of(props), to.records, to.clock)
        # Connections that are still shared may lead to what ran there before.
        close_connections(str(props["stack"]), str(props["hostname"]))
        return facts(record)


def facts(record: Record) -> dict[str, Any]:
    key = next((k for k in record.host_keys if k.startswith("ssh-ed25519 ")), None)
    if key is None:
        raise RobotError(
            f"{record.hostname} (server {record.number})",
            "the installed system has no ed25519 host key, which everything that logs in is pinned to",
        )
    return {
        "public_ipv4": record.address,
        "host_key": key,
        "install_id": record.install_id,
        "degraded": record.degraded or "",
    }


def look(site: str, props: dict[str, Any]) -> dict[str, Any] | None:
    """What a refresh finds: None where the server is no longer in the account; degraded where something is not so."""
    number = int(props["number"])
    with _reached(site, props) as to:
        try:
            to.robot.servers.get(number, fresh=True)
        except NotFound:
            return None
        wanted, record = wanted_of(props), to.records.load(number)
        if record is None or wanted.vswitch is None or wanted.firewall is None:
            return {"degraded": "nothing is recorded of its installation"}
        found = None
        if number not in {m.server_number for m in to.robot.vswitches.get(wanted.vswitch.vswitch).server}:
            found, record.network_digest = f"it is not on vSwitch {wanted.vswitch.vswitch}", None
        elif not same(to.robot.firewalls.get(number), wanted.firewall):
            found, record.firewall_digest = "its firewall has other rules", None
        if found:
            to.records.save(record)
        return {"degraded": found or record.degraded or ""}


def let_go(site: str, props: dict[str, Any]) -> None:
    """Off the vSwitch and without its firewall. Its system, its disks and its contract stay as they are."""
    number = int(props["number"])
    with _reached(site, props) as to:
        vswitch = int(props["vswitch_id"])
        try:
            members = to.robot.vswitches.get(vswitch).server
            if number in {m.server_number for m in members}:
                to.robot.vswitches.leave(vswitch, [number], to.clock.sleep)
            wall = wait_settled(to.robot, number, to.clock.sleep)
            if wall.status != "disabled":
                to.robot.firewalls.clear(number)
                if wait_settled(to.robot, number, to.clock.sleep).status == "in process":
                    raise RobotError(
                        f"{props['hostname']} (server {number})",
                        "Robot still takes its firewall away after a minute: destroy it again, it goes on from here",
                    )
        except NotFound:
            # The vSwitch or the server is gone already, and all of that with it.
            pass
        if record := to.records.load(number):
            record.network_digest = record.firewall_digest = None
            to.records.save(record)
        close_connections(str(props["stack"]), str(props["hostname"]))


def ensure_vswitch(site: str, props: dict[str, Any]) -> int:
    with _reached(site, props) as to:
        return to.robot.vswitches.ensure(str(props["name"]), int(props["vlan"])).id


def change_vswitch(site: str, ident: int, props: dict[str, Any]) -> None:
    with _reached(site, props) as to:
        to.robot.vswitches.update(ident, str(props["name"]), int(props["vlan"]))


def read_vswitch(site: str, ident: int, props: dict[str, Any]) -> dict[str, Any] | None:
    with _reached(site, props) as to:
        try:
            found = to.robot.vswitches.get(ident)
        except NotFound:
            return None
        return None if found.cancelled else {**props, "name": found.name, "vlan": found.vlan, "vswitch_id": ident}


def cancel_vswitch(site: str, ident: int, props: dict[str, Any]) -> None:
    """At once. One that is cancelled or gone already is no fault."""
    if read_vswitch(site, ident, props) is not None:
        with _reached(site, props) as to:
            to.robot.vswitches.cancel(ident, "now")
