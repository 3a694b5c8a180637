"""The site's story, told in order on one site: it comes up, holds, survives kills, and leaves nothing behind."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from infra.verbs import flow, probe
from infra.verbs.site import Site

from .conftest import EMULATOR_PORT, ROOT, STACK, verb

pytestmark = [pytest.mark.root, pytest.mark.timeout(1800)]


def environment() -> dict[str, str]:
    return {**os.environ, "BARETICK_STACK": STACK, "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}


def run(*argv: str, timeout: float = 900) -> str:
    result = subprocess.run(
        argv, cwd=ROOT, env=environment(), text=True, capture_output=True, timeout=timeout, check=False
    )
    assert result.returncode == 0, f"{' '.join(argv)}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result.stdout


def wait_for_session(site: Site, state: str, seconds: float = 240) -> dict[str, object]:
    """Wait until every venue's session is in the given state (playing or done)."""
    deadline = time.monotonic() + seconds
    while True:
        venues = probe.session(site)["venues"]
        if all(v["state"] == state or v["state"] == "done" for v in venues.values()):
            return venues  # type: ignore[no-any-return]
        assert time.monotonic() < deadline, f"sessions did not reach {state}: {venues}"
        time.sleep(0.5)


def test_the_site_comes_up_trading(site: Site) -> None:
    counts = flow.row_counts(site)
    assert counts["raw_ticks"] > 0 and counts["orders"] > 0 and counts["fills"] > 0, counts


def test_status_shows_every_service_active(site: Site) -> None:
    shown = verb("status").stdout
    for service in ("kafka", "clickhouse", "minio", "redis", "engine", "ingest", "venue", "prometheus", "alertmanager"):
        assert re.search(rf"{service}\b", shown), f"{service} is not in the status table"
    assert "unreachable" not in shown


def test_everything_holds_and_reconciles(site: Site) -> None:
    verb("verify")


def test_a_second_pulumi_up_and_a_refresh_change_nothing(site: Site) -> None:
    for action in (["up", "--skip-preview"], ["refresh", "--skip-preview"]):
        shown = run(".venv/bin/pulumi", *action, "--yes", "--non-interactive", "--stack", STACK, "--json")
        events = [json.loads(line) for line in shown.splitlines() if line.startswith('{"sequence"')]
        summary = [e["summaryEvent"]["resourceChanges"] for e in events if "summaryEvent" in e]
        changes = summary[-1] if summary else json.loads(shown)["changeSummary"]
        assert set(changes) <= {"same"}, f"pulumi {action[0]} changed {changes}"


def test_a_second_site_yml_changes_nothing(site: Site) -> None:
    recap = run("ansible-playbook", "site.yml").split("PLAY RECAP")[1]
    changed = {m[1]: int(m[2]) for m in re.finditer(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", recap, re.M)}
    assert changed and set(changed.values()) == {0}, f"a second run changed: {changed}"


def test_kills_in_mid_stream_lose_nothing_and_double_nothing(site: Site) -> None:
    verb("replay", "--speed", "8")
    wait_for_session(site, "playing")
    victims = [("ingest", "baretick-ingest"), ("kafka", "kafka"), ("clickhouse", "clickhouse")] * 2
    for group, unit in victims:
        time.sleep(5)
        host = site.host_of(group)
        before = site.ssh(host, f"systemctl show -p MainPID --value {unit}").stdout.strip()
        assert int(before) > 0, f"{unit} was not running before its kill"
        killed = site.ssh(host, f"systemctl kill -s KILL {unit}")
        assert killed.returncode == 0, killed.stderr
        deadline = time.monotonic() + 60
        while True:
            after = site.ssh(
                host, f"systemctl is-active {unit} && systemctl show -p MainPID --value {unit}"
            ).stdout.split()
            if len(after) == 2 and after[0] == "active" and after[1] not in ("0", before):
                break
            assert time.monotonic() < deadline, f"{unit} did not come back after SIGKILL: {after}"
            time.sleep(0.5)
    wait_for_session(site, "done")
    verb("verify")


def test_a_host_killed_behind_pulumis_back_is_noticed_and_restored(site: Site) -> None:
    unplug = f"http://127.0.0.1:{EMULATOR_PORT}/_emulator/machines/ops-1/kill"
    subprocess.run(["curl", "-fsS", "-X", "POST", unplug], check=True, timeout=20)
    run(".venv/bin/pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--stack", STACK)
    host = next(h for h in site.hosts if h.name == "ops-1")
    assert site.ssh(host, "hostname").stdout.strip() == "ops-1"


def test_stopping_leaves_nothing_and_starting_again_finds_the_data(site: Site) -> None:
    rows = flow.row_counts(site)
    verb("down")
    assert not leftovers(), leftovers()
    verb("up")
    again = flow.row_counts(Site(STACK))
    assert all(again[name] >= n for name, n in rows.items()), f"rows before {rows}, after {again}"


def leftovers() -> list[str]:
    """Whatever of the stack is still on this machine: namespaces, mounts, cgroups, processes, interfaces."""
    found = []
    name = f"bt-{STACK}"
    if Path(f"/run/netns/{name}").exists():
        found.append(f"namespace {name}")
    state = str(ROOT / ".baretick" / STACK)
    found += [f"mount {line.split()[1]}" for line in Path("/proc/mounts").read_text().splitlines() if state in line]
    found += [f"cgroup {p}" for p in Path("/sys/fs/cgroup").rglob(f"*{name}*")]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if int(process.parent.name) != os.getpid() and (name in command or state in command):
            found.append(f"process {process.parent.name}: {command[:120]}")
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    found += [
        f"interface {line.split()[1]}"
        for line in links.splitlines()
        if line.split()[1].startswith(("vb-", "ve-", "br0"))
    ]
    return found
