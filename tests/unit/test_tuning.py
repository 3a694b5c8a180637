"""Tuning: a host's files become a topology, a topology becomes a plan, and the plan's every row is read back."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.tuning import audit, plan
from infra.tuning.audit import State
from infra.tuning.partition import Partition, PartitionError, format_cpu_list, parse_cpu_list
from infra.tuning.rows import NOISY_TIMERS, SYSCTLS, Kind
from infra.tuning.topology import File, Topology, parse

POOLS = ("latency", "data", "ops")


def probe_output(cpus: int, nodes: int, threads: int, container: str = "none") -> str:
    """What the probe prints on a server with `cpus` CPUs over `nodes` NUMA nodes, `threads` a core; Linux numbering."""
    cores = cpus // threads
    lines = [f"/sys/devices/system/cpu/online\tro\t0-{cpus - 1}"]
    for cpu in range(cpus):
        group = ",".join(str(cpu % cores + cores * t) for t in range(threads))
        lines.append(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list\tro\t{group}")
        lines.append(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor\trw\tpowersave")
    for node in range(nodes):
        share = [c for c in range(cpus) if c % cores * nodes // cores == node]
        lines.append(f"/sys/devices/system/node/node{node}/cpulist\tro\t{format_cpu_list(share)}")
        lines.append(f"/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages\trw\t0")
    lines += [f"{s.path}\trw\t?" for s in SYSCTLS]
    lines += [
        "/sys/kernel/mm/transparent_hugepage/enabled\trw\talways [madvise] never",
        "/sys/kernel/mm/ksm/run\trw\t1",
        "/sys/devices/virtual/workqueue/cpumask\trw\tffff",
        "/etc/default/grub\trw\t# GRUB",
        "/proc/cmdline\tro\tBOOT_IMAGE=/vmlinuz root=/dev/md1",
        "nic\teno1\t0",
        f"container\t-\t{container}",
        *(f"unit\t{timer}\tenabled" for timer in NOISY_TIMERS),
    ]
    return "\n".join(lines)


def test_a_two_socket_server_with_smt_is_read_as_it_is() -> None:
    host = parse(probe_output(cpus=16, nodes=2, threads=2))
    assert host.cpus == frozenset(range(16))
    assert host.siblings[3] == frozenset({3, 11})
    assert host.nodes == {0: parse_cpu_list("0-3,8-11"), 1: parse_cpu_list("4-7,12-15")}
    assert host.nics == {"eno1": 0}
    assert host.own_kernel


def test_a_single_node_without_numa_files_is_node_0() -> None:
    lines = [line for line in probe_output(4, 1, 1).splitlines() if "/node/" not in line]
    assert parse("\n".join(lines)).nodes == {0: frozenset(range(4))}


@pytest.mark.parametrize("junk", ["garbage", "a\tb"])
def test_an_answer_that_is_not_the_probes_is_refused(junk: str) -> None:
    with pytest.raises(ValueError, match="not its own"):
        parse(junk)


def test_a_host_that_hides_its_cpus_is_refused() -> None:
    with pytest.raises(ValueError, match="does not show its CPUs"):
        parse("container\t-\tnone")


@st.composite
def hosts_and_partitions(draw: st.DrawFn) -> tuple[Topology, Partition]:
    """A topology and a partition that is valid for it: whole cores isolated, a core of each node kept."""
    threads = draw(st.sampled_from([1, 2]))
    nodes = draw(st.sampled_from([1, 2]))
    cores = draw(st.integers(1, 8)) * 2 * nodes
    host = parse(probe_output(cores * threads, nodes, threads))
    isolated: set[int] = set()
    for cpus in host.nodes.values():
        groups = sorted({tuple(sorted(host.siblings[c])) for c in cpus})
        chosen = draw(st.lists(st.sampled_from(groups[1:]), unique=True)) if len(groups) > 1 else []
        isolated.update(c for group in chosen for c in group)
    return host, Partition(host.cpus - isolated, frozenset(isolated))


@given(hosts_and_partitions(), st.sampled_from(POOLS))
def test_every_row_is_planned_once_and_says_why(case: tuple[Topology, Partition], pool: str) -> None:
    made = plan.make(case[0], case[1], pool)
    names = [(row.kind, row.name) for row in made.rows]
    assert len(names) == len(set(names))
    assert all(row.why and row.path for row in made.rows)
    assert set(made.applied) | set(made.not_applicable) == set(made.rows)


@given(hosts_and_partitions())
def test_isolated_cpus_appear_only_where_they_are_kept_free(case: tuple[Topology, Partition]) -> None:
    host, partition = case
    made = plan.make(host, partition, "latency")
    values = {row.name: row.value for row in made.rows}
    if not partition.isolated:
        assert "nohz_full" not in values
        return
    assert parse_cpu_list(values["nohz_full"].split("=")[1]) == partition.isolated
    assert parse_cpu_list(values["irqaffinity"].split("=")[1]) == partition.housekeeping
    assert f"CPUAffinity={format_cpu_list(partition.housekeeping)}\n" in values["systemd CPUAffinity"]
    mask = int(values["workqueues"].replace(",", ""), 16)
    assert mask == sum(1 << cpu for cpu in partition.housekeeping)


@given(hosts_and_partitions())
def test_hugepages_are_all_given_and_near_the_isolated_cpus(case: tuple[Topology, Partition]) -> None:
    host, partition = case
    made = plan.make(host, partition, "latency")
    pages = {r.path: int(r.value) for r in made.rows if r.name.startswith("hugepages ")}
    assert sum(pages.values()) == 128
    assert max(pages.values()) - min(pages.values()) <= 1
    near = [n for n, cpus in host.nodes.items() if cpus & (partition.isolated or host.cpus)]
    assert len(pages) == len(near)


def settled(host: Topology, made: plan.Plan) -> Topology:
    """The host after its plan has been applied and it has rebooted."""
    files = dict(host.files)
    for row in made.applied:
        if row.kind is Kind.SYSCTL or row.kind is Kind.SYSFS:
            files[row.path] = File(row.value if "hugepage/" not in row.path else f"always [{row.value}]", True)
    words = " ".join(r.value for r in made.applied if r.kind is Kind.CMDLINE)
    files["/proc/cmdline"] = File(f"{host.files['/proc/cmdline'].value} {words}", False)
    return replace(host, files=files, units=dict.fromkeys(host.units, "masked"))


@given(hosts_and_partitions(), st.sampled_from(POOLS))
def test_a_host_brought_to_its_plan_audits_clean_and_plans_the_same_again(
    case: tuple[Topology, Partition], pool: str
) -> None:
    host, partition = case
    made = plan.make(host, partition, pool)
    after = plan.make(settled(host, made), partition, pool)
    findings = audit.findings(after, plan.files(after))
    assert {f.state for f in findings} <= {State.OK, State.NOT_APPLICABLE}, findings
    assert plan.files(after) == plan.files(made)


def test_what_waits_for_a_reboot_is_told_from_what_drifted() -> None:
    host = parse(probe_output(4, 1, 1))
    made = plan.make(host, Partition.parse("0-1", "2-3"), "latency")
    states = {f.row.name: f.state for f in audit.findings(made, plan.files(made))}
    assert states["nohz_full"] is State.NEEDS_REBOOT
    assert states["vm.swappiness"] is State.DRIFT
    assert audit.worst(states.values()) is State.DRIFT
    without = audit.findings(made, dict.fromkeys(plan.files(made)))
    assert {f.state for f in without if f.row.kind is Kind.CMDLINE} == {State.DRIFT}


def test_a_container_lists_by_name_what_only_a_kernel_of_its_own_could_take() -> None:
    text = probe_output(2, 1, 1, container="systemd-nspawn").replace(
        "/proc/sys/vm/swappiness\trw", "/proc/sys/vm/swappiness\tro"
    )
    made = plan.make(parse(text), Partition.parse("0", "1"), "latency")
    refused = {row.name: row.not_applicable for row in made.not_applicable}
    assert "systemd-nspawn" in refused["nohz_full"] and "systemd-nspawn" in refused["vm.swappiness"]
    assert plan.GRUB_FILE not in plan.files(made)
    record = json.loads(plan.host_record(made))
    assert {r["name"] for r in record["not_applicable"]} == set(refused)
    assert record["partition"] == {"housekeeping": "0", "isolated": "1"}


def test_a_read_only_sysctl_stays_out_of_the_file_even_where_its_value_is_right() -> None:
    text = probe_output(2, 1, 1).replace("/proc/sys/vm/swappiness\trw\t?", "/proc/sys/vm/swappiness\tro\t10")
    made = plan.make(parse(text), Partition.parse("0", "1"), "latency")
    assert "vm.swappiness" in {row.name for row in made.not_applicable}
    assert "vm.swappiness" not in plan.files(made)[plan.SYSCTL_FILE]


def test_the_command_line_is_appended_never_replaced() -> None:
    made = plan.make(parse(probe_output(4, 1, 1)), Partition.parse("0-1", "2-3"), "latency")
    assert 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT nohz_full=2-3' in plan.files(made)[plan.GRUB_FILE]


@pytest.mark.parametrize(
    ("housekeeping", "isolated", "said"),
    [
        ("0-1", "1-3", "is both housekeeping"),
        ("0-2", "3-9", "does not exist"),
        ("", "0-3", "no housekeeping CPU"),
        ("0,2", "1", "neither housekeeping nor isolated"),
        ("0-2", "3", "shares its core"),
    ],
)
def test_a_partition_that_the_host_cannot_take_is_refused_before_anything_is_done(
    housekeeping: str, isolated: str, said: str
) -> None:
    host = parse(probe_output(4, 1, 2))
    with pytest.raises(PartitionError, match=said):
        plan.make(host, Partition.parse(housekeeping, isolated), "latency", "latency-1")


def test_a_numa_node_without_a_housekeeping_cpu_is_refused() -> None:
    host = parse(probe_output(8, 2, 1))
    with pytest.raises(PartitionError, match="NUMA node 1"):
        plan.make(host, Partition.parse("0-3", "4-7"), "latency")
