"""Prometheus: its targets are the inventory's, its rules are loaded, and their tests pass on the host."""

import json
import time

import pytest

from tests.host.fleet import SANDBOX, Node, inventory, on

pytestmark = pytest.mark.site
UNIT = "prometheus"
# What the site scrapes, by the group whose hosts are asked.
JOBS = {
    "node": "node_exporter",
    "engine": "engine",
    "ingest": "ingest",
    "minio": "minio",
    "prometheus": "prometheus",
    "alertmanager": "alertmanager",
}


@on("prometheus")
def test_it_runs_and_starts_at_boot(node: Node) -> None:
    node.assert_running(UNIT)


@on("prometheus")
def test_it_listens_on_the_private_address_alone(node: Node) -> None:
    assert node.listeners(9090) == {node.ip}


@on("prometheus")
def test_it_runs_unprivileged_in_a_sandbox(node: Node) -> None:
    facts = node.sandbox(UNIT)
    assert facts["User"] == "prometheus"
    assert {name: facts[name] for name in SANDBOX} == SANDBOX


@on("prometheus")
def test_every_host_of_every_service_is_a_target_that_answers(node: Node) -> None:
    expected = {(job, host) for job, group in JOBS.items() for host in inventory().get(group, {}).get("hosts", [])}
    deadline = time.monotonic() + 60  # the first scrapes after a start
    while True:
        _, body = node.get(9090, "/api/v1/targets?state=active")
        targets = {(t["labels"]["job"], t["labels"]["instance"]): t for t in json.loads(body)["data"]["activeTargets"]}
        down = {key: t["lastError"] or t["health"] for key, t in targets.items() if t["health"] != "up"}
        if not down or time.monotonic() > deadline:
            break
        time.sleep(3)
    assert set(targets) == expected
    assert down == {}


@on("prometheus")
def test_it_knows_where_to_send_alerts(node: Node) -> None:
    _, body = node.get(9090, "/api/v1/alertmanagers")
    active = {a["url"].split("/")[2] for a in json.loads(body)["data"]["activeAlertmanagers"]}
    hosts = inventory().get("alertmanager", {}).get("hosts", [])
    assert active == {f"{Node(name).ip}:9093" for name in hosts}


@on("prometheus")
def test_every_rule_is_loaded_and_healthy(node: Node) -> None:
    _, body = node.get(9090, "/api/v1/rules")
    rules = [rule for group in json.loads(body)["data"]["groups"] for rule in group["rules"]]
    assert {"HostDown", "DiskAlmostFull", "EngineNoData", "BookInvalid", "FeedGaps", "IngestLag"} <= {
        rule["name"] for rule in rules
    }
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []


@on("prometheus")
def test_the_unit_tests_of_the_rules_pass_with_this_version(node: Node) -> None:
    assert "SUCCESS" in node.run("cd /etc/prometheus/tests && promtool test rules *.test.yml")
