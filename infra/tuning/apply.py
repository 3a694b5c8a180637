"""A plan onto a host, by pyinfra operations: the files that carry it, and what makes the running system follow them."""

from io import StringIO

from pyinfra.context import host
from pyinfra.operations import files, server

from infra.tuning import audit, plan
from infra.tuning.fact import HostTopology
from infra.tuning.partition import Partition
from infra.tuning.plan import GRUB_FILE, HOST_FILE, SYSCTL_FILE, TMPFILES_FILE, Plan
from infra.tuning.rows import SYSTEMD_AFFINITY, Kind, Row

# Ours alone: one that the plan no longer needs is removed, so that nothing stale stays behind.
OWNED_FILES = (SYSCTL_FILE, GRUB_FILE, TMPFILES_FILE, SYSTEMD_AFFINITY, HOST_FILE)


def plan_of_host() -> Plan:
    """The plan of the host in pyinfra's context, from its facts and its inventory data."""
    data = host.data
    partition = Partition.parse(str(data.cpus_housekeeping), str(data.cpus_isolated))
    return plan.make(host.get_fact(HostTopology), partition, str(data.pool), host.name)


def deploy() -> None:
    """Bring the host in pyinfra's context to its plan. Operations exist only for what differs or may differ."""
    wanted = plan_of_host()
    carried = plan.files(wanted)
    written = {
        path: files.put(
            name=f"tuning: {path}",
            src=StringIO(content),
            dest=path,
            user="root",
            group="root",
            mode="644",
            create_remote_dir=True,
        )
        for path, content in carried.items()
    }
    for path in OWNED_FILES:
        if path not in carried:
            files.file(name=f"tuning: no {path}", path=path, present=False)
    drifted = {row.kind for row in wanted.applied if _drifts(wanted, row)}
    if Kind.SYSCTL in drifted:
        server.shell(name="tuning: set the running kernel's sysctls", commands=[f"sysctl -q -p {SYSCTL_FILE}"])
    if Kind.SYSFS in drifted:
        server.shell(name="tuning: set sysfs", commands=[f"systemd-tmpfiles --create {TMPFILES_FILE}"])
    if GRUB_FILE in written:
        server.shell(name="tuning: update-grub", commands=["update-grub"], _if=written[GRUB_FILE].did_change)
    if SYSTEMD_AFFINITY in written:
        server.shell(
            name="tuning: systemd takes its affinity",
            commands=["systemctl daemon-reexec"],
            _if=written[SYSTEMD_AFFINITY].did_change,
        )
    for row in wanted.applied:
        if row.kind is Kind.TIMER and _drifts(wanted, row):
            server.shell(name=f"tuning: mask {row.name}", commands=[f"systemctl mask --now {row.name}"])


def _drifts(wanted: Plan, row: Row) -> bool:
    return audit.found(wanted.topology, row) != row.value
