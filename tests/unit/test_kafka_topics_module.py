"""The role kafka's module: what it plans for topics as declared, and what it refuses to do."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given as sampled
from hypothesis import strategies as st

LIBRARY = Path(__file__).resolve().parents[2] / "roles" / "kafka" / "library"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, LIBRARY / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOPICS, HEALTH = load("kafka_topics"), load("kafka_health")


class Refused(Exception):
    pass


class FakeModule:
    """Ansible's side of a module: its parameters, and an end with a message."""

    def __init__(self, **params: Any) -> None:
        self.params = {
            "bootstrap_servers": "127.0.0.1:1",
            "timeout_s": 1,
            "replication_factor": 1,
            "topics": [],
        } | params

    def fail_json(self, msg: str) -> None:
        raise Refused(msg)


def plan(found: dict[str, Any], *topics: dict[str, Any]) -> dict[str, list[str]]:
    module = TOPICS.Topics(FakeModule(topics=list(topics)))
    steps: dict[str, list[str]] = module.plan(module.wanted(), found)
    return steps


def have(partitions: int = 1, copies: int = 1, **config: str) -> dict[str, Any]:
    return {"partitions": partitions, "replication_factor": copies, "config": config}


def test_a_missing_topic_is_made() -> None:
    assert plan({}, {"name": "a", "partitions": 3}) == {"create": ["a"], "grow": [], "configure": []}


def test_a_topic_as_declared_is_left_alone() -> None:
    topic = {"name": "a", "partitions": 3, "config": {"retention_ms": 5}}
    assert plan({"a": have(3, retention_ms="5")}, topic) == {"create": [], "grow": [], "configure": []}


def test_a_topic_that_is_not_declared_is_left_alone() -> None:
    assert not any(plan({"other": have(9)}, *[]).values())


def test_partitions_are_added() -> None:
    assert plan({"a": have(1)}, {"name": "a", "partitions": 4})["grow"] == ["a"]


def test_partitions_are_never_taken_away() -> None:
    with pytest.raises(Refused, match="a has 4 partitions and 2 are declared"):
        plan({"a": have(4)}, {"name": "a", "partitions": 2})


def test_copies_are_never_moved() -> None:
    with pytest.raises(Refused, match=r"kafka-reassign-partitions\.sh"):
        plan({"a": have(1, copies=1)}, {"name": "a", "replication_factor": 3})


def test_a_setting_that_is_declared_no_more_is_taken_back() -> None:
    assert plan({"a": have(1, cleanup="compact")}, {"name": "a"})["configure"] == ["a"]


def test_a_mistyped_key_is_refused_by_name() -> None:
    with pytest.raises(Refused, match=r"topic a: unknown key partition$"):
        plan({}, {"name": "a", "partition": 3})


@sampled(st.one_of(st.booleans(), st.integers(), st.text(max_size=8)))
def test_values_are_written_as_kafka_writes_them(value: bool | int | str) -> None:
    written = TOPICS.text(value)
    assert written == {True: "true", False: "false"}[value] if isinstance(value, bool) else written == str(value)


class Listed:
    """A cluster's metadata as the client gives it: each partition as (leader, copies, copies in step)."""

    def __init__(self, brokers: int, **topics: list[tuple[int, int, int]]) -> None:
        self.brokers = dict.fromkeys(range(brokers))
        self.topics = {name: Topic(partitions) for name, partitions in topics.items()}


class Topic:
    def __init__(self, partitions: list[tuple[int, int, int]]) -> None:
        self.partitions = {number: Partition(*facts) for number, facts in enumerate(partitions)}


class Partition:
    def __init__(self, leader: int, copies: int, in_step: int) -> None:
        self.leader, self.replicas, self.isrs = leader, list(range(copies)), list(range(in_step))


def test_a_whole_cluster_misses_nothing() -> None:
    assert HEALTH.missing(Listed(3, a=[(1, 3, 3), (2, 3, 3)]), 3, ["a"]) == []


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        (Listed(2, a=[(1, 2, 2)]), "2 of 3 brokers are registered"),
        (Listed(3), "no topic a"),
        (Listed(3, a=[(-1, 3, 3)]), "a-0 has no leader"),
        (Listed(3, a=[(1, 3, 2)]), "a-0 has 2 of 3 copies in step"),
    ],
)
def test_what_a_cluster_misses_is_said(listed: Listed, reason: str) -> None:
    assert HEALTH.missing(listed, 3, ["a"]) == [reason]
