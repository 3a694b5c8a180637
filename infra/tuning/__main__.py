"""`python -m infra.tuning apply|audit [--limit HOST]`: the site's hosts brought to their tuning plan, or read back."""

import argparse
import sys

from rich.console import Console
from rich.table import Table

from infra.tuning import fleet
from infra.tuning.audit import State, worst
from infra.tuning.partition import PartitionError
from inventory.outputs import NoSite

COLOURS = {State.OK: "green", State.DRIFT: "red", State.NEEDS_REBOOT: "yellow", State.NOT_APPLICABLE: "dim"}


def apply(limit: str | None) -> int:
    applied = fleet.apply_all(limit)
    for host in applied:
        for what in host.changed:
            print(f"{host.host}: changed: {what}")
    print(f"tuning: {len(applied)} hosts, {sum(len(h.changed) for h in applied)} changed")
    return 0


def audit(limit: str | None) -> int:
    """Print every row; 1 if one has drifted, 3 if one only waits for a reboot."""
    console = Console(width=160 if not sys.stdout.isatty() else None)
    states = []
    for name, (plan, findings) in sorted(fleet.audit_all(limit).items()):
        table = Table(title=f"{name} ({plan.pool})", title_justify="left")
        for column in ("row", "kind", "wanted", "state", "found"):
            table.add_column(column, overflow="fold")
        for f in findings:
            wanted = f.row.value.strip().replace("\n", " ")
            table.add_row(f.row.name, f.row.kind, wanted, f"[{COLOURS[f.state]}]{f.state}[/]", f.found)
            states.append(f.state)
        console.print(table)
    counts = ", ".join(f"{states.count(state)} {state}" for state in State)
    print(f"tuning audit: {counts}")
    return {State.DRIFT: 1, State.NEEDS_REBOOT: 3}.get(worst(states), 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="infra.tuning", description=__doc__)
    parser.add_argument("verb", choices=["apply", "audit"])
    parser.add_argument("--limit", metavar="HOST", help="only this host")
    args = parser.parse_args()
    try:
        return apply(args.limit) if args.verb == "apply" else audit(args.limit)
    except (fleet.FleetError, NoSite, PartitionError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
