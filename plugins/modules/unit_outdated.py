#!/usr/bin/python
"""Ansible module: tell whether a running systemd unit is older than the files that it reads.

A run that was interrupted between writing a file and restarting the service leaves nothing for a handler to hear of in
the next run. Changed means: running, and older than a file; a unit that does not run has nothing to catch up on.
"""

import datetime
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: unit_outdated
short_description: Tell whether a running systemd unit is older than the files that it reads
options:
  unit: {description: The unit., type: str, required: true}
  paths:
    description: Files and folders that it reads, folders with all that lies below.
    type: list
    elements: path
    required: true
  since:
    description: What counts as having read them. A reload shows as the unit's last change of state.
    type: str
    choices: [start, reload]
    default: start
"""

PROPERTIES = {"start": "ExecMainStartTimestamp", "reload": "StateChangeTimestamp"}


def parse_timestamp(text):
    """Seconds since 1970 of what `systemctl show --timestamp=us+utc` prints; None where the unit never got there."""
    if not text:
        return None
    _, _, day_and_time = text.partition(" ")  # the weekday's name is English whatever the host's language
    moment = datetime.datetime.strptime(day_and_time, "%Y-%m-%d %H:%M:%S.%f UTC")
    return moment.replace(tzinfo=datetime.UTC).timestamp()


def newer(paths, since):
    """Which of the paths, and of what lies below them, were modified after `since`. Links count, not their targets."""

    def below(path):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from path.rglob("*")

    return sorted(str(found) for path in paths for found in below(Path(path)) if found.lstat().st_mtime > since)


def main():
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "paths": {"type": "list", "elements": "path", "required": True},
            "since": {"type": "str", "choices": sorted(PROPERTIES), "default": "start"},
        },
        supports_check_mode=True,
    )
    unit, which = module.params["unit"], PROPERTIES[module.params["since"]]
    command = ["systemctl", "show", "--timestamp=us+utc", f"--property={which}", "--value", unit]
    _, printed, _ = module.run_command(command, check_rc=True)
    try:
        since = parse_timestamp(printed.strip())
    except ValueError as e:
        module.fail_json(msg=f"{unit}: systemctl printed a time that cannot be read: {e}")
    try:
        found = [] if since is None else newer(module.params["paths"], since)
    except FileNotFoundError as e:
        module.fail_json(msg=f"{unit} runs without {e.filename}: somebody removed it; run the role's configure tasks")
    module.exit_json(changed=bool(found), newer=found)


if __name__ == "__main__":
    main()
