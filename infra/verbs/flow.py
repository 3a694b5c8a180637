"""Is the site trading? Waits until market data has become rows in the warehouse and orders have become fills."""

import time

from infra.verbs import probe
from infra.verbs.site import Site, SiteError

TABLES = ("raw_ticks", "orders", "fills")


def row_counts(site: Site) -> dict[str, int]:
    """Rows by table of hft_data."""
    sql = " UNION ALL ".join(f"SELECT '{t}' AS name, count() AS n FROM hft_data.{t}" for t in TABLES)  # noqa: S608
    return {row["name"]: int(row["n"]) for row in probe.query(site, sql)}


def wait_until_trading(site: Site, deadline: float) -> str:
    """Return a line with the counts once every table has rows; raise SiteError saying what is still missing."""
    missing = "the warehouse did not answer"
    while time.monotonic() < deadline:
        try:
            counts = row_counts(site)
        except SiteError as e:
            missing = str(e)
        else:
            empty = [name for name, n in counts.items() if n == 0]
            if not empty:
                return ", ".join(f"{n:,} {name}" for name, n in counts.items())
            missing = f"no rows yet in {', '.join(empty)}"
        time.sleep(2)
    raise SiteError(f"the site is up but not trading: {missing}; look at `make logs-engine` and `make logs-ingest`")
