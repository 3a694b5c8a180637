"""What a host is, read from its own files: CPUs, SMT siblings, NUMA nodes, NICs, what root may change."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from infra.tuning.partition import parse_cpu_list

_CPU = "/sys/devices/system/cpu"
_NODE = "/sys/devices/system/node"

# Prints `path<TAB>mode<TAB>first line` for every file of interest: mode is rw or ro, as the kernel grants it.
_SCRIPT = """
show() {{
    for f in "$@"; do
        [ -f "$f" ] || continue
        # A mode bit says little: a mount may be read-only, and a container's kernel refuses a sysctl only when it is
        # written. So a sysctl is given its own value back.
        case $f in
            /proc/sys/*) probe() {{ cat "$f" > "$f"; }} ;;
            *) probe() {{ : >> "$f"; }} ;;
        esac
        if (probe) 2>/dev/null; then mode=rw; else mode=ro; fi
        printf '%s\\t%s\\t%s\\n' "$f" "$mode" "$(head -n 1 "$f" 2>/dev/null | tr -d '\\000\\t')"
    done
}}
show {cpu}/online {cpu}/cpu[0-9]*/topology/thread_siblings_list {cpu}/cpu[0-9]*/cpufreq/scaling_governor
show {node}/node[0-9]*/cpulist {node}/node[0-9]*/hugepages/hugepages-2048kB/nr_hugepages
show /proc/cmdline {paths}
for nic in /sys/class/net/*; do
    [ -e "$nic/device" ] || continue
    printf 'nic\\t%s\\t%s\\n' "${{nic##*/}}" "$(cat "$nic/device/numa_node" 2>/dev/null)"
done
printf 'container\\t-\\t%s\\n' "$(systemd-detect-virt --container)"
for unit in {units}; do
    printf 'unit\\t%s\\t%s\\n' "$unit" "$(systemctl is-enabled "$unit" 2>/dev/null)"
done
"""


@dataclass(frozen=True)
class File:
    """One file of the host's kernel or configuration, as found."""

    value: str
    writable: bool


@dataclass(frozen=True)
class Topology:
    """A host as the tuning plan needs it. CPUs are Linux CPU numbers; `siblings` maps each to its SMT group."""

    cpus: frozenset[int]
    siblings: dict[int, frozenset[int]]
    nodes: dict[int, frozenset[int]]
    nics: dict[str, int | None] = field(default_factory=dict)
    """NIC name to its NUMA node, None where the platform does not say."""
    files: dict[str, File] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    """Unit to what `systemctl is-enabled` says of it; "" for a unit that is not installed."""
    container: str = "none"

    @property
    def own_kernel(self) -> bool:
        return self.container == "none"


def probe(paths: Iterable[str], units: Iterable[str]) -> str:
    """The shell script whose output `parse` reads; `paths` and `units` are what the plan will ask about."""
    return _SCRIPT.format(cpu=_CPU, node=_NODE, paths=" ".join(sorted(paths)), units=" ".join(sorted(units)))


def parse(output: str) -> Topology:
    """The topology behind the probe's output; raises ValueError where a line is not of its form."""
    files: dict[str, File] = {}
    siblings: dict[int, frozenset[int]] = {}
    nodes: dict[int, frozenset[int]] = {}
    nics: dict[str, int | None] = {}
    units: dict[str, str] = {}
    container = "none"
    for line in output.splitlines():
        if not line.strip():
            continue
        try:
            key, mode, value = line.split("\t", 2)
        except ValueError as e:
            raise ValueError(f"the host's probe answered a line that is not its own: {line!r}") from e
        if key == "nic":
            nics[mode] = int(value) if value.lstrip("-").isdigit() and int(value) >= 0 else None
        elif key == "unit":
            units[mode] = "" if value == "not-found" else value
        elif key == "container":
            container = value or "none"
        else:
            files[key] = File(value.strip(), mode == "rw")
            if key.endswith("/topology/thread_siblings_list"):
                siblings[_number(key, "cpu")] = parse_cpu_list(value)
            elif key.endswith("/cpulist"):
                nodes[_number(key, "node")] = parse_cpu_list(value)
    online = files.get(f"{_CPU}/online")
    if online is None:
        raise ValueError(f"the host does not show its CPUs ({_CPU}/online is missing)")
    cpus = parse_cpu_list(online.value)
    return Topology(
        cpus=cpus,
        siblings={cpu: siblings.get(cpu, frozenset({cpu})) & cpus for cpu in cpus},
        # A kernel without NUMA shows no node: then all CPUs are of node 0.
        nodes={node: found & cpus for node, found in nodes.items()} or {0: cpus},
        nics=nics,
        files=files,
        units=units,
        container=container,
    )


def _number(path: str, word: str) -> int:
    """The N of the component `wordN` in a path."""
    for part in path.split("/"):
        if part.startswith(word) and part[len(word) :].isdigit():
            return int(part[len(word) :])
    raise ValueError(f"no {word} number in {path}")
