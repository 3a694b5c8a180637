"""Reconciliation: the warehouse holds just what the venue stand-in served, by symbol, in number and in quantity.

The other side of the comparison is capture_count, which reads the capture (or, where a session was made up, its
frames) with code that shares nothing with the pipeline. Snapshots asked for after a gap or a reconnect are the
stand-in's own and are left out.
"""

import json
import os
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from infra.verbs import probe
from infra.verbs.site import Site, SiteError
from tests.host import capture_count

pytestmark = [pytest.mark.site, pytest.mark.timeout(1500)]

ROOT = Path(__file__).resolve().parents[2]
SESSION_SECONDS = 900.0
LANDING_SECONDS = 180.0

Figures = dict[tuple[str, str], tuple[int, Decimal]]


@pytest.fixture(scope="module")
def site() -> Site:
    found = Site.from_environment()
    try:
        assert found.hosts
    except SiteError as e:
        pytest.skip(f"needs a running site: {e}")
    return found


@pytest.fixture(scope="module")
def sessions(site: Site) -> dict[str, Any]:
    """The sessions served, once they are over."""
    deadline = time.monotonic() + SESSION_SECONDS
    while True:
        venues: dict[str, Any] = probe.session(site).get("venues", {})
        if not venues:
            pytest.skip("this site trades against the venues themselves: nobody has another count of what they sent")
        listened = {name: v for name, v in venues.items() if v["clients"] or v["sent"]}
        if listened and all(v["state"] == "done" for v in listened.values()):
            return listened
        assert time.monotonic() < deadline, f"the session does not end: {venues}"
        time.sleep(1)


@pytest.fixture(scope="module")
def books(site: Site) -> dict[str, dict[str, Any]]:
    """What the engine follows, by the session that it hears."""
    shown = probe.get(site, "engine", 8080, "/integrations")

    return {v["session"]: v for v in json.loads(shown).values() if "books" in v}


def captures_folder() -> Path:
    return Path(os.environ.get("BARETICK_CAPTURES") or ROOT.parent / "shared" / "data" / "market")


def count_session(venue: str, told: dict[str, Any]) -> dict[str, capture_count.Symbol]:
    """What a session holds by symbol, counted from its capture or from the frames of its seed."""
    kind, _, what = told["source"].partition(":")
    if kind == "capture":
        folder = captures_folder()
        if not folder.is_dir():
            pytest.skip(f"the session was served from {what}, and {folder} is not there: set BARETICK_CAPTURES")
        counts = capture_count.count_folder(folder, what.split(","))
    else:
        from baretick.config import StandinConfig
        from baretick.venues.standin import synthetic

        seconds = float(os.environ.get("BARETICK_STANDIN__SYNTHETIC_SECONDS", StandinConfig().synthetic_seconds))
        frames = synthetic.recording(venue, int(what), seconds).frames
        assert len(frames) == told["total"], f"{told['source']} is not {seconds:g} s long: say how long by the variable"
        counts = capture_count.count_frames(venue, [(f.topic, f.text) for f in frames])
    return {symbol: s for (of, symbol), s in counts.items() if of == venue}


def expected(sessions: dict[str, Any], books: dict[str, dict[str, Any]]) -> dict[str, Figures]:
    """By session: (symbol, what) -> number and quantity."""
    out: dict[str, Figures] = {}
    for venue, told in sessions.items():
        followed = books.get(told["session"])
        assert followed, f"the engine does not follow {venue}'s session {told['session']}: {sorted(books)}"
        counts = count_session(venue, told)
        figures = out[told["session"]] = {}
        for symbol in followed["books"]:
            assert symbol in counts, f"{venue}: {symbol} is followed, but the session does not hold it"
            for what in ("trades", "updates", "snapshots"):
                tally = getattr(counts[symbol], what)
                if tally.count:
                    figures[symbol, what] = (tally.count, tally.qty)
    return out


LANDED = """
SELECT session, symbol, multiIf(event = 'trade', 'trades', event = 'book_update', 'updates', 'snapshots') AS what,
       count() AS n, sum(qty) AS qty,
       uniqExact(kafka_topic, kafka_partition, kafka_offset, idx) AS different
FROM hft_data.raw_ticks
WHERE session IN ({sessions}) AND event != 'ticker' AND NOT (event = 'book_snapshot' AND resync)
GROUP BY session, symbol, what
FORMAT JSONEachRow
SETTINGS output_format_json_quote_decimals = 1
"""


def landed(site: Site, sessions: dict[str, Any]) -> tuple[dict[str, Figures], int]:
    """The same figures from the warehouse, and how many rows are there more than once."""
    out: dict[str, Figures] = {told["session"]: {} for told in sessions.values()}
    twice = 0
    for row in probe.query(site, LANDED.replace("{sessions}", ", ".join(f"'{s}'" for s in out))):
        out[row["session"]][row["symbol"], row["what"]] = (int(row["n"]), Decimal(row["qty"]))
        twice += int(row["n"]) - int(row["different"])
    return out, twice


def lag(site: Site) -> float:
    samples = [value for name, _, value in probe.metrics(site, "ingest", 8081) if name == "baretick_ingest_lag_records"]
    return sum(samples) if samples else float("inf")


def show(venues: dict[str, Any], want: dict[str, Figures], have: dict[str, Figures]) -> None:
    print(f"\n| {'session':52} | {'symbol':16} | {'what':9} | {'served':>9} | {'landed':>9} | {'quantity':>22} |")
    for told in venues.values():
        for key, (n, qty) in sorted(want[told["session"]].items()):
            found = have[told["session"]].get(key, (0, Decimal(0)))
            mark = "=" if found == (n, qty) else "!"
            name = f"| {told['session']:52} | {key[0]:16} | {key[1]:9} |"
            print(f"{name} {n:9} | {found[0]:9} | {mark} {qty.normalize():>20f} |")


def test_the_warehouse_holds_just_what_was_served(
    site: Site, sessions: dict[str, Any], books: dict[str, dict[str, Any]]
) -> None:
    want = expected(sessions, books)
    deadline = time.monotonic() + LANDING_SECONDS
    while True:
        behind = lag(site)
        have, twice = landed(site, sessions)
        if (behind == 0 and have == want) or time.monotonic() > deadline:
            break
        time.sleep(2)
    show(sessions, want, have)
    for told in sessions.values():
        print(f"reconcile | {told['session']}: source {told['source']}, {told['sent']} of {told['total']} frames")
    assert behind == 0, f"the ingestor is {behind:.0f} records behind"
    assert twice == 0, f"{twice} rows are there more than once"
    assert have == want, "served and landed differ; a session that the engine joined late can't agree: `make replay`"


def test_the_aggregates_add_up_to_the_trades(site: Site, sessions: dict[str, Any]) -> None:
    names = ", ".join(f"'{told['session']}'" for told in sessions.values())
    trades = probe.query(
        site,
        "SELECT session, symbol, count() AS n, toString(sum(qty)) AS qty FROM hft_data.raw_ticks "
        f"WHERE event = 'trade' AND session IN ({names}) GROUP BY session, symbol ORDER BY session, symbol",
    )
    assert trades
    for unit in ("1s", "1m"):
        bars = probe.query(
            site,
            f"SELECT session, symbol, sum(trades) AS n, toString(sum(volume)) AS qty FROM hft_analytics.agg_{unit} "
            f"WHERE session IN ({names}) GROUP BY session, symbol ORDER BY session, symbol",
        )
        assert bars == trades, f"agg_{unit}"


def test_no_record_was_undecodable(site: Site) -> None:
    [row] = probe.query(site, "SELECT count() AS n FROM hft_data.dead_letters")
    assert int(row["n"]) == 0
