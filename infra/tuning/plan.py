"""From topology, CPU partition and pool to the rows of a host and the files that carry them. Pure functions."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from infra.tuning.partition import Partition, cpu_mask, format_cpu_list
from infra.tuning.rows import (
    IRQBALANCE,
    KSM,
    LATENCY_HUGEPAGES,
    NOISY_TIMERS,
    SYSCTLS,
    SYSTEMD_AFFINITY,
    THP,
    WORKQUEUES,
    Kind,
    Row,
)
from infra.tuning.topology import Topology

SYSCTL_FILE = "/etc/sysctl.d/99-zz-low-latency.conf"
GRUB_FILE = "/etc/default/grub.d/zz-low-latency.cfg"
TMPFILES_FILE = "/etc/tmpfiles.d/zz-low-latency.conf"
HOST_FILE = "/etc/baretick/host.json"
HEADER = "# Written by the tuning (infra/tuning); changes here are undone by the next run.\n"


@dataclass(frozen=True)
class Plan:
    """What one host gets. Every row is in it, also those that this host cannot take."""

    pool: str
    partition: Partition
    topology: Topology
    rows: tuple[Row, ...]

    @property
    def applied(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if not row.not_applicable)

    @property
    def not_applicable(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.not_applicable)


def paths_of_interest() -> tuple[str, ...]:
    """What the probe has to look at, for any pool."""
    return (*(s.path for s in SYSCTLS), THP, KSM, WORKQUEUES, IRQBALANCE, "/etc/default/grub")


def make(topology: Topology, partition: Partition, pool: str, host: str = "host") -> Plan:
    """The plan of a host; raises PartitionError where the host cannot be split as the site says."""
    partition.validate(topology, host)
    rows = [
        *_sysctls(topology, pool),
        *_command_line(topology, partition, pool),
        *_sysfs(topology, partition, pool),
        *_configuration(topology, partition, pool),
    ]
    return Plan(pool, partition, topology, tuple(rows))


def _sysctls(topology: Topology, pool: str) -> Iterable[Row]:
    for sysctl in SYSCTLS:
        if pool not in sysctl.values:
            continue
        row = Row(sysctl.key, Kind.SYSCTL, sysctl.values[pool], sysctl.path, sysctl.why)
        found = topology.files.get(sysctl.path)
        if found is None:
            yield row.refused(
                "this kernel does not have it" if topology.own_kernel else "not in this container's namespaces"
            )
        elif not found.writable:  # even where the value is right: one key that refuses fails the whole file
            yield row.refused(_of_the_kernel(topology, "read-only here"))
        else:
            yield row


def _command_line(topology: Topology, partition: Partition, pool: str) -> Iterable[Row]:
    if pool != "latency" or not partition.isolated:
        return
    isolated, housekeeping = format_cpu_list(partition.isolated), format_cpu_list(partition.housekeeping)
    parameters = {
        "nohz_full": (isolated, "no scheduler tick while one task runs"),
        "rcu_nocbs": (isolated, "RCU callbacks run on housekeeping CPUs"),
        "irqaffinity": (housekeeping, "interrupts start on housekeeping CPUs"),
        "isolcpus": (f"managed_irq,{isolated}", "managed interrupts keep off where they can"),
        "skew_tick": ("1", "ticks of the CPUs do not collide"),
        "rcupdate.rcu_normal_after_boot": ("1", "no expedited RCU interrupts after boot"),
        "nosoftlockup": ("", "no watchdog thread on isolated CPUs"),
        "transparent_hugepage": ("never", "no compaction stalls; hugepages are reserved"),
    }
    if any(len(group) > 1 for group in topology.siblings.values()):
        parameters["nosmt"] = ("", "a core is not shared with a sibling")
    for name, (value, why) in parameters.items():
        row = Row(name, Kind.CMDLINE, f"{name}={value}" if value else name, "/proc/cmdline", why)
        if not topology.own_kernel:
            yield row.refused(_of_the_kernel(topology, "no command line of its own"))
        elif "/etc/default/grub" not in topology.files:
            yield row.refused("this host does not boot through GRUB")
        else:
            yield row


def _sysfs(topology: Topology, partition: Partition, pool: str) -> Iterable[Row]:
    rows = [
        Row(
            f"governor cpu{cpu}",
            Kind.SYSFS,
            "performance",
            f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor",
            "the clock does not have to ramp up",
        )
        for cpu in sorted(topology.cpus)
    ]
    if pool in ("latency", "data"):
        rows.append(Row("transparent hugepages", Kind.SYSFS, "never", THP, "no compaction stalls under the stores"))
    if pool == "latency":
        rows.append(Row("ksm", Kind.SYSFS, "0", KSM, "no page merging behind the engine's back"))
        if partition.isolated:
            mask = cpu_mask(partition.housekeeping)
            rows.append(Row("workqueues", Kind.SYSFS, mask, WORKQUEUES, "kernel work stays off isolated CPUs"))
        nodes = [n for n, cpus in sorted(topology.nodes.items()) if cpus & (partition.isolated or topology.cpus)]
        for position, node in enumerate(nodes):
            # An even share each; the first nodes take what is left over.
            share = LATENCY_HUGEPAGES // len(nodes) + (position < LATENCY_HUGEPAGES % len(nodes))
            path = f"/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages"
            rows.append(Row(f"hugepages node{node}", Kind.SYSFS, str(share), path, "the arena does not miss the TLB"))
    for row in rows:
        found = topology.files.get(row.path)
        if found is None:
            yield row.refused("this kernel does not offer it")
        elif not found.writable:
            yield row.refused(_of_the_kernel(topology, "read-only here"))
        else:
            yield row


def _configuration(topology: Topology, partition: Partition, pool: str) -> Iterable[Row]:
    if pool != "latency":
        return
    if partition.isolated:
        housekeeping = format_cpu_list(partition.housekeeping)
        yield Row(
            "systemd CPUAffinity",
            Kind.CONFIG,
            f"[Manager]\nCPUAffinity={housekeeping}\n",
            SYSTEMD_AFFINITY,
            "system services start on housekeeping CPUs",
        )
        irq = Row(
            "irqbalance",
            Kind.CONFIG,
            f"IRQBALANCE_BANNED_CPULIST={format_cpu_list(partition.isolated)}\n",
            IRQBALANCE,
            "irqbalance keeps off isolated CPUs",
        )
        if not topology.own_kernel:
            yield irq.refused(_of_the_kernel(topology, "no interrupts of its own"))
        elif IRQBALANCE not in topology.files:
            yield irq.refused("irqbalance is not installed: interrupts stay where irqaffinity puts them")
        else:
            yield irq
    for timer in NOISY_TIMERS:
        row = Row(timer, Kind.TIMER, "masked", timer, "housekeeping runs in a maintenance window")
        yield row if topology.units.get(timer) else row.refused("not installed")


def _of_the_kernel(topology: Topology, what: str) -> str:
    """Why a container cannot take a row: its kernel is the machine's, which is tuned there."""
    return what if topology.own_kernel else f"{what}: a container ({topology.container}) has no kernel of its own"


def files(plan: Plan) -> dict[str, str]:
    """The configuration files that carry the plan's applicable rows, by path. A file without rows is not in it."""
    by_kind: dict[Kind, list[Row]] = {kind: [] for kind in Kind}
    for row in plan.applied:
        by_kind[row.kind].append(row)
    found = {row.path: HEADER + row.value for row in by_kind[Kind.CONFIG]}
    if by_kind[Kind.SYSCTL]:
        found[SYSCTL_FILE] = HEADER + "".join(f"{r.name} = {r.value}\n" for r in by_kind[Kind.SYSCTL])
    if by_kind[Kind.CMDLINE]:
        # Appended: installers write this variable too, with parameters that their hardware needs.
        words = " ".join(row.value for row in by_kind[Kind.CMDLINE])
        found[GRUB_FILE] = f'{HEADER}GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT {words}"\n'
    if by_kind[Kind.SYSFS]:
        found[TMPFILES_FILE] = HEADER + "".join(f"w {r.path} - - - - {r.value}\n" for r in by_kind[Kind.SYSFS])
    found[HOST_FILE] = host_record(plan)
    return found


def host_record(plan: Plan) -> str:
    """What the host says of itself to everything above: topology, partition, and each row applied or not."""
    record = {
        "pool": plan.pool,
        "topology": {
            "cpus": format_cpu_list(plan.topology.cpus),
            "smt": any(len(group) > 1 for group in plan.topology.siblings.values()),
            "numa_nodes": {str(n): format_cpu_list(c) for n, c in sorted(plan.topology.nodes.items())},
            "nics": plan.topology.nics,
            "container": plan.topology.container,
        },
        "partition": {
            "housekeeping": format_cpu_list(plan.partition.housekeeping),
            "isolated": format_cpu_list(plan.partition.isolated),
        },
        "hugepages": {r.name: int(r.value) for r in plan.applied if r.name.startswith("hugepages ")},
        "applied": [_brief(row) for row in plan.applied],
        "not_applicable": [{**_brief(row), "reason": row.not_applicable} for row in plan.not_applicable],
    }
    return json.dumps(record, indent=2) + "\n"


def _brief(row: Row) -> dict[str, str]:
    return {k: str(v) for k, v in asdict(row).items() if k in ("name", "kind", "value")}
