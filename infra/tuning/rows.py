"""The rows of the tuning plan: what is set, to what, where it is read back, and why."""

from dataclasses import dataclass, replace
from enum import StrEnum

THP = "/sys/kernel/mm/transparent_hugepage/enabled"
KSM = "/sys/kernel/mm/ksm/run"
WORKQUEUES = "/sys/devices/virtual/workqueue/cpumask"
SYSTEMD_AFFINITY = "/etc/systemd/system.conf.d/10-low-latency.conf"
IRQBALANCE = "/etc/default/irqbalance"


class Kind(StrEnum):
    """How a row is applied and read back."""

    SYSCTL = "sysctl"
    CMDLINE = "kernel command line"
    SYSFS = "sysfs"
    CONFIG = "configuration"
    TIMER = "timer off"


@dataclass(frozen=True)
class Row:
    """One setting. `path` is what is read back; `not_applicable` says why this host cannot take it, "" if it can."""

    name: str
    kind: Kind
    value: str
    path: str
    why: str
    not_applicable: str = ""

    def refused(self, reason: str) -> "Row":
        return replace(self, not_applicable=reason)


@dataclass(frozen=True)
class Sysctl:
    key: str
    values: dict[str, str]
    """By pool; a pool that is not named is left at the kernel's default."""
    why: str

    @property
    def path(self) -> str:
        return "/proc/sys/" + self.key.replace(".", "/")


def _every(value: str) -> dict[str, str]:
    return {"latency": value, "data": value, "ops": value}


# Conflicts between services are settled by pool: a latency host runs the engine alone, a data host the stores.
SYSCTLS = (
    Sysctl("vm.swappiness", {"latency": "10", "data": "1", "ops": "10"}, "page cache and heaps stay in memory"),
    Sysctl("vm.stat_interval", {"latency": "10"}, "fewer per-CPU statistics timers"),
    Sysctl("vm.dirty_ratio", {"latency": "10", "data": "80"}, "Kafka leaves flushing to the kernel, in the background"),
    Sysctl("vm.dirty_background_ratio", {"latency": "3", "data": "5"}, "write-back begins early and stays small"),
    Sysctl("vm.max_map_count", {"data": "262144"}, "two maps for each Kafka log segment"),
    Sysctl("vm.overcommit_memory", {"data": "1"}, "a Redis snapshot forks without reserving its memory twice"),
    Sysctl("kernel.numa_balancing", {"latency": "0"}, "no page migration under the engine"),
    Sysctl("kernel.nmi_watchdog", {"latency": "0"}, "no watchdog interrupt on isolated CPUs"),
    Sysctl("kernel.hung_task_timeout_secs", {"latency": "600"}, "a quiet core is not a hung task"),
    Sysctl("kernel.timer_migration", {"latency": "0"}, "timers stay where they were armed"),
    Sysctl("net.core.rmem_max", _every("134217728"), "bursts of market data fit the socket"),
    Sysctl("net.core.wmem_max", _every("134217728"), "bursts of market data fit the socket"),
    Sysctl("net.core.busy_read", {"latency": "50"}, "poll the NIC queue instead of waiting for its interrupt"),
    Sysctl("net.core.busy_poll", {"latency": "50"}, "poll the NIC queue instead of waiting for its interrupt"),
    Sysctl("net.core.somaxconn", {"latency": "1024", "data": "4096", "ops": "4096"}, "listen queues as services ask"),
    Sysctl("net.ipv4.tcp_slow_start_after_idle", _every("0"), "a quiet connection keeps its congestion window"),
    Sysctl("net.ipv4.tcp_fastopen", {"latency": "3"}, "one round trip less at reconnect"),
    Sysctl("net.ipv4.tcp_mtu_probing", _every("1"), "paths through vSwitch and tunnels have smaller packets"),
)

# Housekeeping that wakes up when it likes; on a latency host it runs in a maintenance window, by hand.
NOISY_TIMERS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "fwupd-refresh.timer",
    "man-db.timer",
    "mdcheck_continue.timer",
    "mdcheck_start.timer",
)

LATENCY_HUGEPAGES = 128
"""Pages of 2 MiB on a latency host, over the NUMA nodes that have isolated CPUs."""
