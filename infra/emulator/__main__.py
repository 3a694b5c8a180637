"""Command line: python -m infra.emulator start | stop | status | serve | machines | lab."""

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path

from infra.emulator import control, lab
from infra.emulator.client import Client
from infra.emulator.daemon import KINDS, serve
from infra.emulator.errors import EmulatorError
from infra.emulator.instance import Instance

DEFAULT_PORT = 8901


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m infra.emulator", description=__doc__)
    verbs = top.add_subparsers(dest="verb", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--name", default="local", help="instance; several run side by side (default: local)")
    shared.add_argument("--state-dir", type=Path, help="run-state folder of the stack (default: .baretick/<name>)")
    running = argparse.ArgumentParser(add_help=False, parents=[shared])
    running.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help=f"API port on loopback (default {DEFAULT_PORT})"
    )
    running.add_argument("--robot-port", type=int, help="port of the Robot webservice (default: the one after --port)")
    running.add_argument("--machines", choices=KINDS, default="nspawn", help="what stands behind a server")
    verbs.add_parser("start", parents=[running], help="start it, or leave it running; returns when it answers")
    verbs.add_parser("serve", parents=[running], help="run it in the foreground")
    stop = verbs.add_parser("stop", parents=[shared], help="power machines off, leave nothing behind but their disks")
    stop.add_argument("--wipe", action="store_true", help="remove disks and state too")
    verbs.add_parser("status", parents=[shared], help="its health as JSON; exit 3 when it does not run")
    verbs.add_parser("machines", parents=[shared], help="a table of its machines")
    lab.add_parser(verbs, shared)
    return top


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        return _run(args)
    except EmulatorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130


def _run(args: argparse.Namespace) -> int:
    match args.verb:
        case "start":
            client = control.ensure_running(
                args.name, args.port, args.state_dir, robot_port=args.robot_port, machines=args.machines
            )
            instance = Instance.at(args.name, args.state_dir)
            print(f"emulator {args.name} answers on {client.base}/v1 (any 64 characters are a token)")
            print(
                f"its Robot webservice on http://127.0.0.1:{control.robot_port_of(instance)} "
                f"(user and password in {instance.robot_login})"
            )
        case "serve":
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
            robot_port = args.robot_port or args.port + 1
            asyncio.run(serve(Instance.at(args.name, args.state_dir), args.port, robot_port, args.machines))
        case "stop":
            if left := control.stop(args.name, args.state_dir, wipe=args.wipe):
                raise EmulatorError("still there: " + "; ".join(left))
            print(f"emulator {args.name} is stopped")
        case "status":
            health = control.status(args.name, args.state_dir)
            if health is None:
                print(f"emulator {args.name} does not run", file=sys.stderr)
                return 3
            print(json.dumps(health, indent=2))
        case "machines":
            client = Client(control.port_of(Instance.at(args.name, args.state_dir)))
            print(machines_table(client.get("/_emulator/machines")["machines"]))
        case "lab":
            return lab.run(args)
    return 0


def machines_table(machines: list[dict[str, object]]) -> str:
    columns = ("name", "status", "public_ipv4", "private_ips", "pid", "init_pid", "boots")
    rows = [columns, *(tuple(_cell(m[c]) for c in columns) for m in machines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
