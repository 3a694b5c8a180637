"""The journal: what was durable is read back as it was, a torn end is cut, any other damage is refused."""

import hashlib
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baretick.journal import crc32c, frames, recovery, segments, snapshots
from baretick.journal.policy import Fsync
from baretick.journal.recovery import CorruptError, recover, replay
from baretick.journal.segments import HEADER_BYTES
from baretick.journal.writer import Journal
from baretick.matching import digest
from baretick.matching.layout import H_O_EVENTS
from tests.support.journalled import arena, commands, frame_starts, written

BATCHES = (1, 3, 16, 5, 9)
OFF = Fsync("off")


def batches(sizes=BATCHES, seed=7):
    rows = commands(sum(sizes), seed)
    return np.split(rows, np.cumsum(sizes)[:-1])


@pytest.fixture(scope="module")
def segment(tmp_path_factory):
    """The bytes of a segment of five frames."""
    folder = tmp_path_factory.mktemp("journal")
    written(folder, batches(), fsync=OFF)
    (path,) = segments.paths(folder)
    return path.read_bytes()


def put(folder, data, first=1):
    path = folder / segments.name_of(first)
    path.write_bytes(data)
    return path


def events_of(folder, **options):
    seen = hashlib.sha256()
    state = recover(folder, arena, lambda events: seen.update(events), **options)
    return state, seen.hexdigest()


# Checksums.


def test_the_checksum_is_crc32c():
    # RFC 3720, appendix B.4: 32 bytes of zeroes, of ones, and ascending.
    for data, expected in ((bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)):
        assert crc32c.crc_of(np.frombuffer(data, np.int64)) == expected


@given(st.integers(0, (1 << 32) - 1), st.integers(-(1 << 63), (1 << 63) - 1))
def test_the_instruction_and_the_table_agree(crc, word):
    assert crc32c.crc_word(crc, word) == crc32c.soft_word(crc, word)


# Writing and reading.


@settings(max_examples=30)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_what_is_written_is_read_in_order_and_numbered_without_a_gap(tmp_path_factory, sizes):
    folder = tmp_path_factory.mktemp("journal")
    written(folder, batches(tuple(sizes)), fsync=OFF, segment_bytes=2_000)
    parts, torn, _ = recovery._tail(folder, 0, 0)
    got, expected = np.concatenate(parts), np.concatenate(batches(tuple(sizes)))
    assert torn is None
    assert got[:, 0].tolist() == list(range(1, sum(sizes) + 1))
    assert np.array_equal(got[:, 1:], expected[:, 1:])


def test_a_batch_larger_than_the_pen_becomes_several_frames(tmp_path):
    many = np.tile(commands(1000), (20, 1))
    written(tmp_path, [many], fsync=OFF)
    parts, _, _ = recovery._tail(tmp_path, 0, 0)
    assert len(np.concatenate(parts)) == 20_000


def test_replay_gives_the_same_events_and_the_same_state(tmp_path):
    rows, seen = commands(3000), hashlib.sha256()
    live = arena()
    journal = Journal(tmp_path, 1, 0, OFF)
    for batch in np.array_split(rows, 40):
        journal.append(batch)
        replay(live, batch, lambda events: seen.update(events))
    journal.close()
    state, events = events_of(tmp_path)
    assert (state.replayed, state.next_seq) == (3000, 3001)
    assert events == seen.hexdigest()
    assert digest.fold_state(state.arena) == digest.fold_state(live)


# Torn ends.


@settings(max_examples=40)
@given(st.data())
def test_a_cut_anywhere_in_the_last_frame_is_torn_and_keeps_every_frame_before_it(tmp_path_factory, segment, data):
    last = frame_starts(segment)[-1]
    at = data.draw(st.integers(last, len(segment) - 1))
    folder = tmp_path_factory.mktemp("torn")
    path = put(folder, segment[:at])
    state = recover(folder, arena)
    assert state.replayed == sum(BATCHES[:-1])
    assert (state.torn is None) == (at == last)
    assert path.stat().st_size == last
    assert recover(folder, arena).torn is None
    journal = Journal(folder, state.next_seq, state.chain, OFF)
    journal.append(batches()[-1].copy())
    journal.close()
    assert recover(folder, arena).replayed == sum(BATCHES)


@pytest.mark.parametrize("size", [0, 1, 63, 64])
def test_a_segment_of_which_only_the_header_was_begun_is_removed(tmp_path, segment, size):
    path = put(tmp_path, segment[:size])
    state = recover(tmp_path, arena)
    assert state.next_seq == 1
    assert not path.exists()


def test_a_sector_that_was_never_written_back_is_torn(tmp_path):
    written(tmp_path, batches((4, 40)), fsync=OFF)
    (path,) = segments.paths(tmp_path)
    data = bytearray(path.read_bytes())
    data[1024:1536] = bytes(512)
    path.write_bytes(data)
    state = recover(tmp_path, arena)
    assert state.replayed == 4
    assert "do not fit its checksum" in state.torn.reason


def test_zeroes_after_the_last_frame_are_torn(tmp_path, segment):
    put(tmp_path, segment + bytes(4096))
    assert recover(tmp_path, arena).replayed == sum(BATCHES)


# Corruption.


@given(st.data())
def test_one_flipped_bit_anywhere_is_refused_with_file_and_offset(tmp_path_factory, segment, data):
    at, bit = data.draw(st.integers(0, len(segment) - 1)), data.draw(st.integers(0, 7))
    broken = bytearray(segment)
    broken[at] ^= 1 << bit
    folder = tmp_path_factory.mktemp("flipped")
    path = put(folder, bytes(broken))
    with pytest.raises(CorruptError) as caught:
        recover(folder, arena)
    assert caught.value.path == path
    # The frame (or the header) that the bit is in, not one after it.
    begins = max(start for start in (0, *frame_starts(segment)) if start <= at)
    assert begins <= caught.value.offset <= begins + max(24, HEADER_BYTES)
    assert path.read_bytes() == bytes(broken)


def test_a_frame_missing_from_the_middle_is_refused(tmp_path, segment):
    _, second, third, *_ = frame_starts(segment)
    put(tmp_path, segment[:second] + segment[third:])
    with pytest.raises(CorruptError, match=f"byte {second + 8}: the frame begins with sequence number 5, 2 was due"):
        recover(tmp_path, arena)


def test_a_frame_of_another_journal_is_refused(tmp_path, segment):
    other = tmp_path / "other"
    other.mkdir()
    written(other, batches(seed=8), fsync=OFF)
    (path,) = segments.paths(other)
    second = frame_starts(segment)[1]
    put(tmp_path, segment[:second] + path.read_bytes()[second:])
    with pytest.raises(CorruptError, match="chain of checksums is broken"):
        recover(tmp_path, arena)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda paths: paths[1].unlink(), "it begins at 10, the segment before it ends at 4"),
        (lambda paths: paths[0].unlink(), "it begins at 5, but 1 is the first command needed"),
        (lambda paths: os.truncate(paths[0], 200), "the file ends inside a frame"),
        (lambda paths: os.truncate(paths[0], 10), "a newer segment follows"),
        (lambda paths: paths[0].write_bytes(b"x" * 500), "not BTJRNL01"),
        (lambda paths: paths[2].rename(paths[2].with_name(segments.name_of(11))), "its name says otherwise"),
    ],
)
def test_a_segment_lost_cut_or_renamed_is_refused(tmp_path, spoil, message):
    journal = Journal(tmp_path, 1, 0, OFF)
    for batch in batches((4, 5, 6)):
        journal.append(batch)
        journal.roll()
    journal.close()
    spoil(segments.paths(tmp_path))
    with pytest.raises(CorruptError, match=message):
        recover(tmp_path, arena)


def test_a_journal_of_another_version_is_refused(tmp_path, segment):
    words = np.frombuffer(segment, np.int64).copy()
    words[1] = 99
    words[7] = crc32c.crc_of(words[:7])
    put(tmp_path, words.tobytes())
    with pytest.raises(CorruptError, match="journal format version 99, this program reads 1"):
        recover(tmp_path, arena)


# Snapshots.


def fill(folder, rows, every):
    """A journal over `rows` with a snapshot after each `every`; the engine at the end."""
    live, journal = arena(), Journal(folder, 1, 0, OFF)
    for first in range(0, len(rows), every):
        batch = rows[first : first + every].copy()
        journal.append(batch)
        replay(live, batch)
        journal.roll()
        snapshots.write(folder, live, journal.next_seq - 1, journal.chain)
    journal.close()
    return live


def test_a_snapshot_restores_the_arena_byte_for_byte(tmp_path):
    live = fill(tmp_path, commands(2000), 2000)
    (path,) = snapshots.paths(tmp_path)
    events = live[H_O_EVENTS // 8] // 8
    assert np.array_equal(snapshots.read(path).arena[:events], live[:events])
    assert path.stat().st_size < live.nbytes // 2  # pages of zeroes take no room


def test_recovery_takes_the_newest_snapshot_and_the_tail_and_ends_where_a_full_replay_ends(tmp_path):
    rows = commands(3000)
    fill(tmp_path, rows[:2000], 500)
    journal = Journal(tmp_path, *recover(tmp_path, arena)[1:3], OFF)
    journal.append(rows[2000:].copy())
    journal.close()
    state, _ = events_of(tmp_path)
    whole, _ = events_of(tmp_path, use_snapshots=False)
    assert (state.snapshot_seq, state.replayed, whole.replayed) == (2000, 1000, 3000)
    assert (state.next_seq, state.chain) == (whole.next_seq, whole.chain)
    assert digest.fold_state(state.arena) == digest.fold_state(whole.arena)


@settings(max_examples=40)
@given(st.data())
def test_a_damaged_snapshot_is_passed_over_for_an_older_one(snapshot_folder, data):
    folder, expected = snapshot_folder
    newest = snapshots.paths(folder)[0]
    good = newest.read_bytes()
    at = data.draw(st.integers(0, 200) | st.integers(0, len(good) - 1))
    broken = bytearray(good)
    broken[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        newest.write_bytes(broken)
        state = recover(folder, arena)
        assert [e.path for e in state.bad_snapshots] == [newest]
        assert (state.snapshot_seq, digest.fold_state(state.arena)) == (200, expected)
    finally:
        newest.write_bytes(good)


@pytest.fixture(scope="module")
def snapshot_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("snapshots")
    return folder, digest.fold_state(fill(folder, commands(300), 100))


def test_what_a_killed_writer_left_beside_its_place_is_swept(tmp_path):
    left = tmp_path / ".snapshot-00000000000000000007.bts.123"
    left.write_bytes(b"half")
    recover(tmp_path, arena)
    assert not left.exists()


def test_pruning_keeps_two_snapshots_and_what_the_older_one_needs(tmp_path):
    live = fill(tmp_path, commands(500), 100)
    recovery.prune(tmp_path)
    assert [p.name for p in segments.paths(tmp_path)] == [segments.name_of(401)]
    snapshots.paths(tmp_path)[0].unlink()
    assert digest.fold_state(recover(tmp_path, arena).arena) == digest.fold_state(live)
    for path in snapshots.paths(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(CorruptError, match="ends inside its header"):
        recover(tmp_path, arena)


def test_a_journal_that_lost_what_its_snapshot_has_is_refused(tmp_path):
    rows = commands(200)
    live, journal = arena(), Journal(tmp_path, 1, 0, OFF)
    journal.append(rows)
    replay(live, rows)
    snapshots.write(tmp_path, live, 200, journal.chain)
    journal.close()
    (path,) = segments.paths(tmp_path)
    path.write_bytes(segments.header(1, 0))
    with pytest.raises(CorruptError, match="it ends at 0, but the snapshot has command 200"):
        recover(tmp_path, arena)


# Durability.


def test_each_commit_is_synced_before_it_counts_as_durable(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: calls.append(fd))
    journal = Journal(tmp_path, 1, 0, Fsync("each"))
    for n, batch in enumerate(batches(), 1):
        assert journal.append(batch) == journal.durable
        assert len(calls) == n


def test_batched_commits_become_durable_together_by_count_or_by_time(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: calls.append(fd))
    journal = Journal(tmp_path, 1, 0, Fsync("batch", 10, 1.0))
    journal.append(commands(6))
    assert (journal.durable, calls) == (0, [])
    journal.append(commands(6))
    assert (journal.durable, len(calls)) == (12, 1)
    journal.append(commands(1))
    assert journal.durable == 12
    while journal.settle() == 12:
        assert journal.due is not None
    assert (journal.durable, journal.due, len(calls)) == (13, None, 2)


def test_after_a_failed_sync_nothing_is_durable_and_nothing_more_is_taken(tmp_path, monkeypatch):
    def fail(fd):
        raise OSError(5, "Input/output error")

    journal = Journal(tmp_path, 1, 0, Fsync("each"))
    journal.append(commands(3))
    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(OSError, match="Input/output"):
        journal.append(commands(2))
    assert journal.durable == 3
    with pytest.raises(RuntimeError, match="recover"):
        journal.append(commands(1))


def test_a_short_write_is_finished(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:100]))
    written(tmp_path, batches(), fsync=OFF)
    monkeypatch.undo()
    assert recover(tmp_path, arena).replayed == sum(BATCHES)


@pytest.mark.parametrize("text", ["", "eachh", "batch:0:1", "batch:5", "batch:x:1", "off:1", "batch:1:-1"])
def test_a_senseless_policy_is_refused(text):
    with pytest.raises(ValueError, match="batch:256:2"):
        Fsync.parse(text)


def test_policies_read_as_written():
    assert Fsync.parse("each").mode == "each"
    assert Fsync.parse("batch:10:0.5") == Fsync("batch", 10, 0.5)


def test_a_pen_too_small_for_a_record_is_refused():
    with pytest.raises(ValueError, match="capacity=64"):
        frames.make_pen(64, 1, 0)
