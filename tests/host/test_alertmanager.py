"""Alertmanager: the archive's programs, a configuration that amtool takes, and nothing beyond the private address."""

import pytest

from tests.host.fleet import SANDBOX, Node, inventory, on

pytestmark = pytest.mark.site
UNIT = "alertmanager"


@on("alertmanager")
def test_it_runs_and_starts_at_boot(node: Node) -> None:
    node.assert_running(UNIT)


@on("alertmanager")
def test_it_listens_on_the_private_address_alone(node: Node) -> None:
    assert node.listeners(9093) == {node.ip}
    # Gossip is for several of them.
    if inventory()["alertmanager"]["hosts"] == [node.name]:
        assert node.listeners(9094) | node.listeners(9095) == set()


@on("alertmanager")
def test_it_runs_unprivileged_in_a_sandbox(node: Node) -> None:
    facts = node.sandbox(UNIT)
    assert facts["User"] == "alertmanager"
    assert {name: facts[name] for name in SANDBOX} == SANDBOX


@on("alertmanager")
def test_it_is_the_version_of_the_manifest(node: Node) -> None:
    version = node.vars["artefacts"]["alertmanager"]["version"]
    assert f"version {version}" in node.run("alertmanager --version 2>&1")


@on("alertmanager")
def test_its_configuration_is_for_its_user_alone_and_valid(node: Node) -> None:
    file = node.host.file("/etc/alertmanager/alertmanager.yml")
    assert (file.user, file.group, file.mode) == ("root", "alertmanager", 0o640)
    assert "SUCCESS" in node.run("amtool check-config /etc/alertmanager/alertmanager.yml")


@on("alertmanager")
def test_it_takes_an_alert_and_shows_it(node: Node) -> None:
    url = f"--alertmanager.url=http://{node.ip}:9093"
    node.run(f"amtool {url} alert add BaretickSelfTest severity=none --end=$(date -u -d +5seconds +%FT%TZ)")
    assert "BaretickSelfTest" in node.run(f"amtool {url} alert query BaretickSelfTest")
