"""Command line: python -m infra.robot servers | boot | reset | firewall | vswitch | keys | budget."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from infra.robot.budget import Ledger, account_dir
from infra.robot.client import Robot
from infra.robot.credentials import robot_login
from infra.robot.errors import RobotError
from infra.robot.key_files import fingerprint
from infra.robot.models import ResetType, Rule

WHERE = (
    "User and password of the webservice come from ROBOT_USER and ROBOT_PASSWORD, or from a file with a line for each "
    "(ROBOT_LOGIN_FILE, default ~/.config/baretick/robot.login, mode 0600). ROBOT_ENDPOINT leads to an emulator."
)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m infra.robot", description=__doc__, epilog=WHERE)
    verbs = top.add_subparsers(dest="verb", required=True)
    servers = verbs.add_parser("servers", help="the dedicated servers, or one of them", epilog=WHERE)
    servers.add_argument("number", type=int, nargs="?")
    servers.add_argument("--name", help="give the server this name")
    boot = verbs.add_parser("boot", help="what a server boots next", epilog=WHERE)
    boot.add_argument("number", type=int)
    what = boot.add_mutually_exclusive_group()
    what.add_argument("--rescue", action="store_true", help="activate the rescue system for the next boot")
    what.add_argument("--disk", action="store_true", help="deactivate whatever is active: boot from the disk")
    boot.add_argument("--key", action="append", default=[], metavar="FILE", help="public key that the rescue lets in")
    reset = verbs.add_parser("reset", help="restart a server from outside (50 an hour for all of them)", epilog=WHERE)
    reset.add_argument("number", type=int)
    reset.add_argument("--type", choices=get_args(ResetType), help="without it, what there is is shown")
    firewall = verbs.add_parser("firewall", help="the firewall before a server", epilog=WHERE)
    firewall.add_argument("number", type=int)
    vswitch = verbs.add_parser("vswitch", help="vSwitches and their members", epilog=WHERE)
    vswitch.add_argument("id", type=int, nargs="?")
    vswitch.add_argument("--ensure", nargs=2, metavar=("NAME", "VLAN"), help="make it where there is none")
    vswitch.add_argument("--join", type=int, nargs="+", default=[], metavar="NUMBER", help="servers to take in")
    vswitch.add_argument("--leave", type=int, nargs="+", default=[], metavar="NUMBER", help="servers to take out")
    keys = verbs.add_parser("keys", help="SSH keys of the account", epilog=WHERE)
    keys.add_argument("--add", metavar="FILE", help="a public key (.pub)")
    keys.add_argument("--name", help="the name of the added key (default: its comment)")
    keys.add_argument("--delete", metavar="FINGERPRINT")
    verbs.add_parser("budget", help="how much of each limit is used; asks nothing of Robot", epilog=WHERE)
    return top


def main(argv: Sequence[str] | None = None, connect: Callable[[], Robot] = Robot.connect) -> int:
    args = parser().parse_args(argv)
    try:
        if args.verb == "budget":
            _budget()
        else:
            _VERBS[args.verb](connect(), args)
    except RobotError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read along has enough; what was asked of Robot has happened.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted; what was asked of Robot has happened, run the same command to see", file=sys.stderr)
        return 130
    return 0


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    cells = [tuple(header), *(tuple("-" if c in (None, "") else str(c) for c in row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def _servers(robot: Robot, args: argparse.Namespace) -> None:
    if args.number is None:
        found = robot.servers.every()
        rows = [(s.server_number, s.server_name, s.server_ip, s.product, s.dc, s.status, s.cancelled) for s in found]
        print(table(("number", "name", "ip", "product", "dc", "status", "cancelled"), rows))
        return
    server = robot.servers.rename(args.number, args.name) if args.name else robot.servers.get(args.number)
    for name, value in server.model_dump().items():
        print(f"{name:16} {value}")


def _boot(robot: Robot, args: argparse.Namespace) -> None:
    config = robot.boots.config(args.number)
    if args.rescue or args.disk:
        if config.active:
            robot.boots.deactivate(args.number, config.active)
        if args.rescue:
            prints = [fingerprint(_read(file)) for file in args.key]
            rescue = robot.boots.activate_rescue(args.number, prints)
            # Shown once, to the person who asked, as Robot does; it is kept nowhere.
            secret = rescue.password.get_secret_value() if rescue.password else None
            print(f"rescue is active for the next boot of {args.number}" + (f", root password {secret}" * bool(secret)))
            return
        config = robot.boots.config(args.number)
    print(f"{args.number} boots {config.active or 'from its disk'} next")


def _reset(robot: Robot, args: argparse.Namespace) -> None:
    if args.type is None:
        options = robot.resets.options(args.number)
        print(
            f"{args.number} is {options.operating_status or 'in an unknown state'}; resets: {', '.join(options.type)}"
        )
        return
    robot.resets.reset(args.number, args.type)
    print(f"{args.number} was reset ({args.type})")


def _firewall(robot: Robot, args: argparse.Namespace) -> None:
    wall = robot.firewalls.get(args.number)
    print(f"{args.number}: {wall.status}, whitelist_hos {wall.whitelist_hos}, filter_ipv6 {wall.filter_ipv6}")
    rows = [(d, *_cells(rule)) for d, rules in (("in", wall.input), ("out", wall.output)) for rule in rules]
    if rows:
        print(table(("", "name", "family", "protocol", "from", "to", "flags", "action"), rows))


def _cells(rule: Rule) -> tuple[object, ...]:
    source, target = (
        ":".join(part for part in pair if part) for pair in ((rule.src_ip, rule.src_port), (rule.dst_ip, rule.dst_port))
    )
    return rule.name, rule.ip_version, rule.protocol, source, target, rule.tcp_flags, rule.action


def _vswitch(robot: Robot, args: argparse.Namespace) -> None:
    if args.ensure:
        name, vlan = args.ensure
        if not vlan.isdecimal():
            raise RobotError("vswitch", f"{vlan!r} is no VLAN: give a number from 4000 to 4091")
        args.id = robot.vswitches.ensure(name, int(vlan)).id
    if args.id is None:
        rows = [(v.id, v.name, v.vlan, v.cancelled) for v in robot.vswitches.every()]
        print(table(("id", "name", "vlan", "cancelled"), rows))
        return
    if args.join:
        robot.vswitches.join(args.id, args.join, time.sleep)
    if args.leave:
        robot.vswitches.leave(args.id, args.leave, time.sleep)
    found = robot.vswitches.get(args.id)
    print(f"vSwitch {found.id}: {found.name}, VLAN {found.vlan}{', cancelled' * found.cancelled}")
    print(table(("server", "ip", "status"), [(m.server_number, m.server_ip, m.status) for m in found.server]))
    for network in found.cloud_network:
        print(f"coupled to cloud network {network.id}: {network.ip}/{network.mask} via {network.gateway}")


def _keys(robot: Robot, args: argparse.Namespace) -> None:
    if args.add:
        text = _read(args.add)
        name = args.name or " ".join(text.split()[2:]) or Path(args.add).stem
        robot.keys.get(fingerprint(text)) or robot.keys.add(name, " ".join(text.split()[:2]))
    if args.delete:
        robot.keys.delete(args.delete)
    rows = [(k.name, k.fingerprint, k.type, k.size) for k in robot.keys.every()]
    print(table(("name", "fingerprint", "type", "bits"), rows))


def _read(file: str) -> str:
    try:
        return Path(file).expanduser().read_text()
    except OSError as error:
        raise RobotError("keys", f"{file} cannot be read ({error.strerror}): name a public key file") from None


def _budget() -> None:
    login = robot_login()
    rows = [
        (u.bucket.name, u.used, u.bucket.limit, "day" if u.bucket.window == 86400 else "hour", _until(u.wait))
        for u in Ledger(account_dir(login.endpoint, login.user)).show()
    ]
    print(table(("endpoint", "used", "of", "a", "next in"), rows))


def _until(wait: float) -> str:
    return "now" if wait == 0 else f"{wait:.0f} s"


_VERBS: dict[str, Callable[[Robot, argparse.Namespace], None]] = {
    "servers": _servers,
    "boot": _boot,
    "reset": _reset,
    "firewall": _firewall,
    "vswitch": _vswitch,
    "keys": _keys,
}


if __name__ == "__main__":
    sys.exit(main())
