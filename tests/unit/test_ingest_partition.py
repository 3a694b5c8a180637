"""What the ingestor gathers for a partition, and how it is cut into batches."""

from hypothesis import given, settings
from hypothesis import strategies as st

from baretick.warehouse.ingest import Partition, TopicLost
from baretick.warehouse.ingest_http import Telemetry

PART = ("md.trades", 0)


def gathered(sizes: list[int], first: int = 0, replay_to: int | None = None) -> Partition:
    part = Partition(PART, first, replay_to=replay_to)
    for n, size in enumerate(sizes):
        part.add(first + n, b"x" * size)
    return part


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 120))
def test_batches_join_up_without_hole_or_overlap(sizes: list[int], limit: int) -> None:
    part = gathered(sizes)
    seen: list[int] = []
    while part.offsets:
        offsets, payloads = part.take(limit)
        assert offsets and len(offsets) == len(payloads)
        weight = sum(len(p or b"") for p in payloads)
        assert weight < limit + 50, "a batch ends with the record that fills it"
        seen += offsets
    assert seen == list(range(len(sizes)))
    assert part.size == 0


@settings(deadline=None)
@given(st.integers(1, 40), st.data())
def test_a_replay_takes_just_the_claimed_records(count: int, data: st.DataObject) -> None:
    last = data.draw(st.integers(0, count - 1))
    part = gathered([10] * count, first=100, replay_to=100 + last)
    assert part.due(now=0.0, batch_bytes=10**9, linger_s=10**9)
    offsets, _ = part.take(batch_bytes=1)
    assert offsets == list(range(100, 101 + last))
    assert part.offsets == list(range(101 + last, 100 + count))


def test_a_replay_waits_for_its_last_record() -> None:
    part = gathered([10] * 3, replay_to=5)
    assert not part.due(now=part.since + 1, batch_bytes=1, linger_s=0.0)
    assert part.due(now=part.since + 60, batch_bytes=1, linger_s=0.0), "unless Kafka no longer has it"


def test_a_batch_is_due_by_size_or_by_age() -> None:
    part = gathered([10] * 3)
    assert not part.due(part.since + 0.1, batch_bytes=31, linger_s=0.5)
    assert part.due(part.since + 0.1, batch_bytes=30, linger_s=0.5)
    assert part.due(part.since + 0.5, batch_bytes=31, linger_s=0.5)
    assert not Partition(PART, 0).due(1e9, batch_bytes=1, linger_s=0.0)


def test_records_that_come_twice_are_gathered_once() -> None:
    part = gathered([1, 1, 1])
    part.add(1, b"again")
    part.add(3, b"next")
    assert part.offsets == [0, 1, 2, 3]


def test_a_topic_made_anew_is_explained() -> None:
    text = str(TopicLost("md.trades", 1, 5, 99))
    for part in ("md.trades:1", "offset 5", "up to 99", "hft_data.ingest_batches"):
        assert part in text


def test_health_tells_what_is_wrong_until_it_is_solved() -> None:
    telemetry = Telemetry()
    assert telemetry.health()["status"] == "waiting"
    telemetry.lag("md.trades", 0, 7)
    telemetry.problem("md.trades:0:1-2", "connection refused")
    health = telemetry.health()
    assert (health["status"], health["lag"]) == ("degraded", 7)
    assert health["problems"] == ["md.trades:0:1-2: connection refused"]
    telemetry.solved("md.trades:0:1-2")
    assert telemetry.health()["status"] == "ok"
    telemetry.forget_partitions()
    assert telemetry.health()["partitions"] == 0
