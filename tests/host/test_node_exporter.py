"""node_exporter on every host: on the private address, off the engine's CPUs."""

import pytest

from tests.host.fleet import SANDBOX, Node, on

pytestmark = pytest.mark.site
UNIT = "prometheus-node-exporter"


@on("node_exporter")
def test_it_runs_and_starts_at_boot(node: Node) -> None:
    node.assert_running(UNIT)


@on("node_exporter")
def test_it_listens_on_the_private_address_alone(node: Node) -> None:
    assert node.listeners(9100) == {node.ip}


@on("node_exporter")
def test_it_runs_unprivileged_in_a_sandbox(node: Node) -> None:
    facts = node.sandbox(UNIT)
    assert facts["User"] == "prometheus"
    assert {name: facts[name] for name in SANDBOX} == SANDBOX


@on("node_exporter")
def test_it_knows_the_host(node: Node) -> None:
    status, body = node.get(9100, "/metrics")
    assert status == 200
    assert f'nodename="{node.name}"' in body


@on("engine")
def test_it_stays_off_the_engines_cpus(node: Node) -> None:
    cpus = node.run(f"systemctl show -p CPUAffinity --value {UNIT}").strip()
    engine = node.run("systemctl show -p CPUAffinity --value baretick-engine").strip()
    if not engine:
        pytest.skip("the engine is unpinned: the host has none of the declared CPUs")
    assert set(cpus.replace("-", " ").split()) & set(engine.replace("-", " ").split()) == set()
