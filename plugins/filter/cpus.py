"""Jinja filter `cpus`: a CPU list as the site, the kernel or systemd writes it, as a sorted list of numbers.

`"2-5,8" | cpus` is [2, 3, 4, 5, 8]. A list of numbers or ranges, a single number and nothing at all work as well,
so a role can intersect what the site declares with what `/sys/devices/system/cpu/online` says.
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError


def cpus(value: Any) -> list[int]:
    """The CPU numbers behind `value`; refuses what is not a CPU list, quoting it."""
    if value is None:
        return []
    parts = value if isinstance(value, list | tuple | set) else str(value).replace(",", " ").split()
    found: set[int] = set()
    for part in parts:
        first, dash, last = str(part).strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise AnsibleFilterError(f"{value!r} is not a CPU list: {part!r} is neither a number nor a range like 2-5")
        found.update(range(int(first), int(last or first) + 1))
    return sorted(found)


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"cpus": cpus}
