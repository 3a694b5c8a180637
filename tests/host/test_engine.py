"""The engine on its host: pinned, sandboxed, on the private address, and hearing what the venues say."""

import json

import pytest

from tests.host.fleet import SANDBOX, Node, on

pytestmark = pytest.mark.site
UNIT = "baretick-engine"


@on("engine")
def test_it_runs_and_starts_at_boot(node: Node) -> None:
    node.assert_running(UNIT)


@on("engine")
def test_it_listens_on_the_private_address_alone(node: Node) -> None:
    assert node.listeners(8080) == {node.ip}


@on("engine")
def test_it_runs_unprivileged_in_a_sandbox(node: Node) -> None:
    facts = node.sandbox(UNIT)
    assert facts["User"] == "baretick"
    assert {name: facts[name] for name in SANDBOX} == SANDBOX


@on("engine")
def test_it_keeps_to_the_cpus_that_the_site_gave_it(node: Node) -> None:
    online = _numbers(node.run("cat /sys/devices/system/cpu/online"))
    declared = _numbers(str(node.vars["cpus_isolated"]))
    expected = declared & online or online
    pid = node.run(f"systemctl show -p MainPID --value {UNIT}").strip()
    status = node.run(f"cat /proc/{pid}/status")
    allowed = next(line.split(":", 1)[1] for line in status.splitlines() if line.startswith("Cpus_allowed_list"))
    assert _numbers(allowed) == expected


@on("engine")
def test_its_secrets_are_for_its_user_alone(node: Node) -> None:
    file = node.host.file("/etc/baretick/engine.env")
    assert (file.user, file.group, file.mode) == ("root", "baretick", 0o640)
    password = node.vars["site_secrets"]["redis_password"]
    assert password in file.content_string
    assert password not in node.host.file("/etc/baretick/engine.yaml").content_string
    assert password not in node.run("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true")


@on("engine")
def test_no_data_service_shares_its_host(node: Node) -> None:
    assert {"kafka", "clickhouse", "minio"} & set(node.vars["services"]) == set()


@on("engine")
def test_it_says_what_it_is_connected_to(node: Node) -> None:
    status, body = node.get(8080, "/integrations")
    assert status == 200
    assert json.loads(body)


@on("engine")
def test_it_counts_what_it_heard(node: Node) -> None:
    status, body = node.get(8080, "/metrics")
    assert status == 200
    heard = [line for line in body.splitlines() if line.startswith("baretick_venue_messages_total")]
    assert heard, "no venue is configured"
    assert sum(float(line.rsplit(" ", 1)[1]) for line in heard) > 0


def _numbers(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.replace(",", " ").split():
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found
