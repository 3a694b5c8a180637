"""The ingestor on its host, and the warehouse as its migrations left it."""

import json

import pytest

from tests.host.fleet import SANDBOX, Node, on

pytestmark = pytest.mark.site
UNIT = "baretick-ingest"
ASK = (
    "systemd-run --quiet --pipe --wait --collect --uid=baretick --property=EnvironmentFile=/etc/baretick/ingest.env "
    "/opt/baretick/venv/bin/baretick {} --config /etc/baretick/ingest.yaml"
)


@on("ingest")
def test_it_runs_and_starts_at_boot(node: Node) -> None:
    node.assert_running(UNIT)


@on("ingest")
def test_it_listens_on_the_private_address_alone(node: Node) -> None:
    assert node.listeners(8081) == {node.ip}


@on("ingest")
def test_it_runs_unprivileged_in_a_sandbox(node: Node) -> None:
    facts = node.sandbox(UNIT)
    assert facts["User"] == "baretick"
    assert {name: facts[name] for name in SANDBOX} == SANDBOX


@on("ingest")
def test_its_secrets_are_for_its_user_alone(node: Node) -> None:
    file = node.host.file("/etc/baretick/ingest.env")
    assert (file.user, file.group, file.mode) == ("root", "baretick", 0o640)
    password = node.vars["site_secrets"]["clickhouse_password"]
    assert password in file.content_string
    assert password not in node.run("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true")


@on("ingest")
def test_it_gets_its_work_done(node: Node) -> None:
    status, body = node.get(8081, "/health")
    assert status == 200, body
    assert json.loads(body)["problems"] == []


@on("ingest")
def test_every_migration_is_applied(node: Node) -> None:
    lines = node.run(ASK.format("migrate --status")).splitlines()
    assert lines
    assert [line for line in lines if "pending" in line] == []


@on("ingest")
def test_reference_data_is_loaded_and_a_second_load_changes_nothing(node: Node) -> None:
    lines = node.run(ASK.format("seed")).splitlines()
    assert lines
    assert [line for line in lines if not line.endswith(" 0 changed")] == []
