"""The CPU partition of a host: housekeeping CPUs run the system, isolated CPUs run nothing but the hot path.

Pure functions over Linux cpu lists ("0,2-5"), shared by the site description (which knows only how many CPUs a server
type has) and by the tuning plan (which has read the host's topology).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
# The kernel's own ceiling (CONFIG_NR_CPUS on amd64); a longer range is a typing error, not a machine.
_MAX_CPUS = 8192


class PartitionError(ValueError):
    """A CPU partition that no host can take; the message says what is wrong and how to mend it."""


class CpuTopology(Protocol):
    """What a partition needs to know of a host: `infra.tuning.topology.Topology` has it."""

    @property
    def cpus(self) -> frozenset[int]: ...
    @property
    def siblings(self) -> Mapping[int, frozenset[int]]: ...
    @property
    def nodes(self) -> Mapping[int, frozenset[int]]: ...


def parse_cpu_list(text: str) -> frozenset[int]:
    """Linux cpu list to a set: "0,2-5" is {0, 2, 3, 4, 5}; the empty list is the empty set."""
    cpus: set[int] = set()
    stripped = text.strip()
    if not stripped:
        return frozenset()
    for part in stripped.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise PartitionError(f'cpu list "{text}": "{part.strip()}" is neither a CPU nor a range like 2-5')
        first = int(match[1])
        last = int(match[2]) if match[2] is not None else first
        if last < first:
            raise PartitionError(f'cpu list "{text}": the range {first}-{last} runs backwards; write {last}-{first}')
        if last >= _MAX_CPUS:
            raise PartitionError(f'cpu list "{text}": CPU {last} is beyond what Linux numbers (0-{_MAX_CPUS - 1})')
        doubled = cpus & set(range(first, last + 1))
        if doubled:
            raise PartitionError(f'cpu list "{text}": CPU {format_cpu_list(doubled)} is named twice')
        cpus.update(range(first, last + 1))
    return frozenset(cpus)


def format_cpu_list(cpus: Iterable[int]) -> str:
    """A set as the shortest Linux cpu list: {0, 2, 3, 4, 5} is "0,2-5"."""
    ordered = sorted(set(cpus))
    parts: list[str] = []
    start = previous = -1
    for cpu in ordered:
        if cpu != previous + 1 or start < 0:
            if start >= 0:
                parts.append(str(start) if start == previous else f"{start}-{previous}")
            start = cpu
        previous = cpu
    if start >= 0:
        parts.append(str(start) if start == previous else f"{start}-{previous}")
    return ",".join(parts)


def cpu_mask(cpus: Iterable[int]) -> str:
    """A set as the kernel's hexadecimal mask, 32 bits a group: {0, 33} is "00000002,00000001"."""
    value = sum(1 << cpu for cpu in set(cpus))
    groups: list[str] = []
    while True:
        groups.append(f"{value & 0xFFFFFFFF:08x}")
        value >>= 32
        if not value:
            break
    groups[-1] = groups[-1].lstrip("0") or "0" if len(groups) == 1 else groups[-1]
    return ",".join(reversed(groups))


@dataclass(frozen=True, slots=True)
class Partition:
    """Which CPUs keep house and which are isolated. Frozen: a plan computed from it stays true."""

    housekeeping: frozenset[int]
    isolated: frozenset[int]

    @classmethod
    def parse(cls, housekeeping: str, isolated: str) -> "Partition":
        """From two cpu lists, as the site description and the inventory write them."""
        return cls(parse_cpu_list(housekeeping), parse_cpu_list(isolated))

    def validate(self, host: "int | CpuTopology", name: str = "host") -> None:
        """Refuse what `host` (its number of CPUs, or its topology) cannot run; the error names host, CPUs and cure."""
        self._validate_sets(name)
        known = frozenset(range(host)) if isinstance(host, int) else host.cpus
        unknown = (self.housekeeping | self.isolated) - known
        if unknown:
            raise PartitionError(
                f"{name}: CPU {format_cpu_list(unknown)} does not exist: the host has CPUs {format_cpu_list(known)}; "
                "take it out of the partition or choose a larger server type"
            )
        if not isinstance(host, int):
            self._validate_siblings(host, name)
            self._validate_nodes(host, name)
        # Last: a finer fault above explains an unassigned CPU better than this does.
        forgotten = known - self.housekeeping - self.isolated
        if forgotten:
            raise PartitionError(
                f"{name}: CPU {format_cpu_list(forgotten)} is neither housekeeping nor isolated; "
                "name every CPU of the host in one of the two lists"
            )

    def _validate_sets(self, name: str) -> None:
        overlap = self.housekeeping & self.isolated
        if overlap:
            raise PartitionError(
                f"{name}: CPU {format_cpu_list(overlap)} is both housekeeping ({format_cpu_list(self.housekeeping)}) "
                f"and isolated ({format_cpu_list(self.isolated)}); leave it in one list"
            )
        if not self.housekeeping:
            raise PartitionError(
                f"{name}: no housekeeping CPU: the kernel, interrupts and system services need at least one; "
                f"move one of {format_cpu_list(self.isolated) or 'the CPUs'} to the housekeeping list"
            )

    def _validate_siblings(self, host: CpuTopology, name: str) -> None:
        for cpu in sorted(self.isolated):
            noisy = host.siblings.get(cpu, frozenset({cpu})) & self.housekeeping
            if noisy:
                raise PartitionError(
                    f"{name}: isolated CPU {cpu} shares its core with housekeeping CPU {format_cpu_list(noisy)} "
                    "(SMT siblings), which would take its execution units and caches; isolate both or neither"
                )

    def _validate_nodes(self, host: CpuTopology, name: str) -> None:
        if not self.isolated:
            return
        for node, cpus in sorted(host.nodes.items()):
            if cpus and not cpus & self.housekeeping:
                raise PartitionError(
                    f"{name}: NUMA node {node} (CPUs {format_cpu_list(cpus)}) has no housekeeping CPU: its memory "
                    f"reclaim and interrupts would land on isolated CPUs; keep at least CPU {min(cpus)} with its "
                    "siblings for housekeeping"
                )
