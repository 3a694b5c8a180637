"""Kafka: one cluster of every broker, and topics as declared."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.host.fleet import ROOT, SANDBOX, Node, inventory, on

pytestmark = pytest.mark.site
UNIT = "kafka"
DEFAULTS = yaml.safe_load(Path(ROOT, "roles", "kafka", "defaults", "main.yml").read_text())

METADATA = """
import json
from confluent_kafka.admin import AdminClient
found = AdminClient({"bootstrap.servers": "%s:9092", "log_level": 0}).list_topics(timeout=20)
print(json.dumps({
    "brokers": sorted(b.host for b in found.brokers.values()),
    "topics": {t.topic: {str(p.id): [p.leader, p.replicas, p.isrs] for p in t.partitions.values()}
               for t in found.topics.values()},
}))
"""


def metadata(node: Node) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(python(node, METADATA % node.ip))
    return answer


def python(node: Node, code: str) -> str:
    """Output of a program on the host: the broker is asked from inside the site, by Debian's own client."""
    marker = uuid.uuid4().hex
    return node.run(f"python3 - <<'{marker}'\n{code}\n{marker}")


@on("kafka")
def test_it_runs_and_starts_at_boot(node: Node) -> None:
    node.assert_running(UNIT)


@on("kafka")
@pytest.mark.parametrize("port", [9092, 9094])
def test_it_listens_on_the_private_address_alone(node: Node, port: int) -> None:
    # Java binds IPv4 addresses through IPv6 sockets.
    assert {a.removeprefix("::ffff:") for a in node.listeners(port)} == {node.ip}


@on("kafka")
def test_it_runs_unprivileged_in_a_sandbox(node: Node) -> None:
    facts = node.sandbox(UNIT)
    assert facts["User"] == "kafka"
    assert {name: facts[name] for name in SANDBOX} == SANDBOX


@on("kafka")
def test_the_version_that_runs_is_the_one_declared(node: Node) -> None:
    version = node.vars.get("artefacts", {}).get("kafka", {}).get("version") or DEFAULTS["kafka_version"]
    assert node.host.file("/opt/kafka/current").linked_to.endswith(f"-{version}")
    home = node.host.file("/opt/kafka/current").linked_to
    jars = node.run("tr '\\0' '\\n' < /proc/$(systemctl show kafka -p MainPID --value)/cmdline; true")
    assert f"{home}/" in jars or "/opt/kafka/current/" in jars


@on("kafka")
def test_every_node_belongs_to_one_cluster(node: Node) -> None:
    ids = {
        Node(name).run("sed -n 's/^cluster.id=//p' /var/lib/kafka/data/meta.properties").strip()
        for name in inventory()["kafka"]["hosts"]
    }
    assert len(ids) == 1
    assert len(ids.pop()) == 22


@on("kafka")
def test_every_broker_is_registered_and_every_copy_in_step(node: Node) -> None:
    found = metadata(node)
    assert found["brokers"] == sorted(Node(name).ip for name in inventory()["kafka"]["hosts"])
    behind = [
        f"{topic}-{number}"
        for topic, partitions in found["topics"].items()
        for number, (leader, replicas, in_step) in partitions.items()
        if leader < 0 or sorted(replicas) != sorted(in_step)
    ]
    assert behind == []


@on("kafka")
@pytest.mark.parametrize("topic", DEFAULTS["kafka_topics"], ids=lambda t: t["name"])
def test_a_topic_has_the_partitions_declared(node: Node, topic: dict[str, Any]) -> None:
    assert len(metadata(node)["topics"][topic["name"]]) == topic["partitions"]


@on("kafka")
def test_a_mistyped_topic_is_not_made(node: Node) -> None:
    assert "auto.create.topics.enable=false" in node.run("cat /etc/kafka/server.properties").splitlines()
    name = f"no-such-topic-{uuid.uuid4().hex}"
    python(node, METADATA.replace("list_topics(", f"list_topics('{name}', ") % node.ip)
    assert name not in metadata(node)["topics"]


@on("kafka")
def test_its_data_is_for_its_user_alone(node: Node) -> None:
    folder = node.host.file("/var/lib/kafka/data")
    assert (folder.user, folder.group, folder.mode) == ("kafka", "kafka", 0o750)
