"""Recovery: the newest valid snapshot, then the commands journalled after it.

    state = recover(folder, make=lambda: layout.allocate(symbols, accounts, orders, events))
    journal = Journal(folder, state.next_seq, state.chain)

Commands are executed again, not their results: the engine is deterministic, so the same commands give the same events
with the same numbers, byte for byte, and the same arena.
"""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from baretick.journal import segments, snapshots
from baretick.journal.segments import CorruptError, Torn
from baretick.journal.writer import sync_folder
from baretick.matching import kernel
from baretick.matching.book import MatchingBook
from baretick.matching.records import Words

EventSink = Callable[[memoryview], None]
"""Gets the events of replay, whole records in order; they are only valid during the call."""


class Recovered(NamedTuple):
    """What recovery found."""

    arena: Words
    next_seq: int
    chain: int
    snapshot_seq: int
    """The command that the snapshot used stood at; 0 when it began from nothing."""
    replayed: int
    torn: Torn | None
    bad_snapshots: list[CorruptError]
    """Newer snapshots that were passed over."""


def recover(
    folder: Path,
    make: Callable[[], Words],
    sink: EventSink | None = None,
    *,
    use_snapshots: bool = True,
) -> Recovered:
    """Rebuild the engine from a folder (made if it is not there), cut what a crash tore off at the end of the journal.

    CorruptError, with nothing changed, if anything else is wrong. `use_snapshots=False` replays the whole journal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    snapshots.sweep(folder)
    state = load(folder, make, sink, snapshots.paths(folder) if use_snapshots else [])
    if state.torn is not None:
        _cut(state.torn)
    _drop_empty(folder)
    return state


def load(folder: Path, make: Callable[[], Words], sink: EventSink | None, candidates: list[Path]) -> Recovered:
    """As `recover`, from the first of some snapshots that is valid, changing nothing: a journal that is being written
    may be read, up to the last whole frame.
    """
    bad: list[CorruptError] = []
    start: snapshots.Snapshot | None = None
    for path in candidates:
        try:
            start = snapshots.read(path)
            break
        except CorruptError as e:
            bad.append(e)
    seq, chain = (start.seq, start.chain) if start else (0, 0)
    if bad and start is None and not (folder / segments.name_of(1)).exists():
        raise bad[0]  # no snapshot can be read, and the journal does not go back to the beginning
    parts, torn, end_chain = _tail(folder, seq, chain)
    arena = start.arena if start else make()
    replayed = 0
    for commands in parts:
        replay(arena, commands, sink)
        replayed += len(commands)
    return Recovered(arena, seq + replayed + 1, end_chain, seq, replayed, torn, bad)


def past(folder: Path, make: Callable[[], Words], sink: EventSink) -> Recovered:
    """Hand on every event since the oldest snapshot kept, by executing again; after `recover`, changing nothing."""
    oldest_first = snapshots.paths(folder)[::-1]
    from_start = (folder / segments.name_of(1)).exists()
    return load(folder, make, sink, [] if from_start else oldest_first)


def _tail(folder: Path, after: int, chain: int) -> tuple[list[Words], Torn | None, int]:
    """The commands after a sequence number, segment by segment; every segment from the one that holds it is checked."""
    paths = segments.paths(folder)
    starts = [int(p.stem.removeprefix("journal-")) for p in paths]
    # Segments that end before the snapshot are not needed: skip those whose successor starts at or before after + 1.
    ends = [*starts[1:], None][: len(paths)]
    keep = [p for p, end in zip(paths, ends, strict=True) if end is None or end > after + 1]
    parts: list[Words] = []
    torn: Torn | None = None
    expected: int | None = None
    last: int | None = None
    for n, path in enumerate(keep):
        if n == 0:
            first = starts[paths.index(path)]
            if first > after + 1:
                raise CorruptError(path, 24, f"it begins at {first}, but {after + 1} is the first command needed")
            last = chain if first == after + 1 else None  # it must continue the snapshot
        got = segments.read(path, newest=n == len(keep) - 1, expected_seq=expected, chain=last)
        if isinstance(got, Torn):
            torn = got
            break
        fresh = got.records[max(0, after + 1 - got.first_seq) :]
        if len(fresh):
            parts.append(fresh)
        expected, last, torn = got.first_seq + len(got.records), got.chain, got.torn
    if expected is not None and expected <= after:
        # The snapshot is written after the journal is durable: commands that were acknowledged are missing.
        raise CorruptError(keep[-1], 0, f"it ends at {expected - 1}, but the snapshot has command {after}")
    return parts, torn, chain if last is None or expected is None or expected == after + 1 else last


def replay(arena: Words, commands: Words, sink: EventSink | None = None) -> None:
    """Execute commands on an arena, handing every event to the sink."""
    book, at = MatchingBook.over(arena), 0
    while at < len(commands):
        at = kernel.process(arena, commands, at)
        events = book.drain_array()
        if sink is not None and len(events):
            sink(memoryview(events).cast("B"))


def _cut(torn: Torn) -> None:
    with torn.path.open("r+b") as f:
        f.truncate(torn.offset)
        os.fsync(f.fileno())


def _drop_empty(folder: Path) -> None:
    """Remove a newest segment that has no command: the next one will have its name."""
    for path in segments.paths(folder)[-1:]:
        if path.stat().st_size <= segments.HEADER_BYTES:
            path.unlink()
            sync_folder(folder)


def prune(folder: Path, snapshots_kept: int = 2) -> list[Path]:
    """Remove snapshots beyond the newest few, and the segments that only they needed; what was removed."""
    kept, old = snapshots.paths(folder)[:snapshots_kept], snapshots.paths(folder)[snapshots_kept:]
    if len(kept) == snapshots_kept:
        needed = 1 + int(kept[-1].stem.removeprefix("snapshot-"))
        paths = segments.paths(folder)
        for path, following in itertools.pairwise(paths):
            if int(following.stem.removeprefix("journal-")) <= needed:
                old.append(path)
    for path in old:
        path.unlink()
    return old


__all__: list[Any] = ["CorruptError", "Recovered", "Torn", "load", "past", "prune", "recover", "replay"]
