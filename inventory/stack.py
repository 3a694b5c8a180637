#!/usr/bin/env python3
"""Ansible's inventory script: the site of stack BARETICK_STACK (default: local), read from Pulumi's outputs.

It also keeps `.baretick/<stack>/ssh_config` and `known_hosts` in line with the site, host keys pinned:
`ssh -F .baretick/local/ssh_config data-1`.
"""

import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    if "--host" in sys.argv:
        # Everything about hosts is in `--list` already.
        print("{}")
        return 0
    from infra.mirror.errors import MirrorError
    from inventory import ssh
    from inventory.build import build
    from inventory.outputs import NoSite, read, stack_name

    try:
        outputs = read(stack_name())
        inventory = build(outputs, ssh.write(outputs))
    except (NoSite, MirrorError) as e:
        print(f"no inventory: {e}", file=sys.stderr)
        return 1
    print(json.dumps(inventory, indent=2))
    return 0


if __name__ == "__main__":
    python = ROOT / ".venv" / "bin" / "python"
    # Ansible starts this file with whatever python3 comes first on PATH; what it needs is in the clone's environment.
    if Path(sys.prefix) != ROOT / ".venv" and python.exists():
        os.execv(python, [str(python), __file__, *sys.argv[1:]])  # noqa: S606 - no shell is meant
    sys.path[0] = str(ROOT)
    sys.exit(main())
