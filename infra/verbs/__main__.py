"""`python -m infra.verbs VERB`: what the Makefile calls. Errors are one paragraph, never a traceback."""

import argparse
import os
import subprocess
import sys


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="infra.verbs", description="The verbs of a site; BARETICK_STACK chooses it.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in (
        "up",
        "down",
        "clean",
        "status",
        "restart",
        "migrate",
        "seed",
        "credentials",
        "verify",
        "emulator",
        "test",
        "test-site",
    ):
        verbs.add_parser(name)
    replay = verbs.add_parser("replay")
    replay.add_argument("--speed", type=float, default=10.0)
    logs = verbs.add_parser("logs")
    logs.add_argument("service", nargs="?")
    logs.add_argument("--follow", action="store_true")
    return parser


def run(argv: list[str]) -> int:
    """Dispatch one verb; modules are imported late so that each verb pays only for itself."""
    args = _parser().parse_args(argv)
    stack = os.environ.get("BARETICK_STACK", "local")
    from infra.verbs.site import Site

    match args.verb:
        case "up":
            from infra.verbs import up

            return up.main(stack)
        case "down" | "clean":
            from infra.verbs import down

            return down.down(stack) if args.verb == "down" else down.clean(stack)
        case "status":
            from infra.verbs import status

            return status.show(Site(stack))
        case "verify":
            from infra.verbs import verify

            return verify.main(stack)
        case "test" | "test-site":
            from infra.verbs import gate

            return gate.main() if args.verb == "test" else gate.whole_site()
        case "logs":
            from infra.verbs import logs

            site = Site(stack)
            return logs.one_service(site, args.service, follow=args.follow) if args.service else logs.all_services(site)
        case "replay":
            from infra.verbs import probe

            reply = probe.replay(Site(stack), args.speed)
            print("\n".join(f"{v}: {s['source']} as {s['session']}" for v, s in reply["venues"].items()))
            return 0
        case "emulator":
            from infra.verbs import pulumi_state

            emulator = pulumi_state.emulator_settings(stack)
            port = os.environ.get("HCLOUD_PORT") or str(emulator.port if emulator else 8901)
            argv = [sys.executable, "-m", "infra.emulator", "start", "--name", stack, "--port", port]
            argv += ["--robot-port", os.environ.get("ROBOT_PORT") or str(int(port) + 1)]
            argv += ["--machines", os.environ.get("MACHINES") or "nspawn"]
            return subprocess.run(argv, check=False).returncode
        case _:
            from infra.verbs import services_control as control

            if args.verb == "restart":
                return control.restart(Site(stack))
            if args.verb == "credentials":
                return control.credentials(Site(stack))
            return control.run_playbook(stack, "--tags", args.verb)


def main() -> int:
    from infra.problems import InvalidSite
    from infra.verbs.site import SiteError
    from infra.verbs.steps import StepFailed

    try:
        return run(sys.argv[1:])
    except (InvalidSite, SiteError, StepFailed) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: run the same command again, it goes on from what is done", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
