"""Questions the verbs ask a running site over HTTP: engine metrics, the stand-in's session, warehouse queries."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from infra.verbs import forwards
from infra.verbs.site import Site, SiteError

SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Sample = tuple[str, dict[str, str], float]


def get(site: Site, group: str, port: int, path: str, **options: Any) -> bytes:
    """Fetch a page of a service; raises SiteError naming the address when nothing answers."""
    host, at = forwards.address(site, port, group)
    url = f"http://{host}:{at}{path}"
    request = urllib.request.Request(url, **options)  # noqa: S310 - a service of this site
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310
            body: bytes = reply.read()
            return body
    except urllib.error.HTTPError as e:
        return e.read()
    except OSError as e:
        raise SiteError(f"{group} does not answer at {url}: {e}") from e


def metrics(site: Site, group: str, port: int) -> list[Sample]:
    """The samples of a service's /metrics page."""
    found: list[Sample] = []
    for line in get(site, group, port, "/metrics").decode().splitlines():
        match = SAMPLE.match(line)
        if match:
            found.append((match[1], dict(LABEL.findall(match[2] or "")), float(match[3])))
    return found


def query(site: Site, sql: str) -> list[dict[str, Any]]:
    """Run a warehouse query and return its rows."""
    body = get(
        site,
        "clickhouse",
        8123,
        "/?default_format=JSONEachRow&output_format_json_quote_64bit_integers=0",
        data=sql.encode(),
        headers={"X-ClickHouse-User": "baretick", "X-ClickHouse-Key": site.secret("clickhouse_password")},
    ).decode()
    if body.startswith("Code:"):
        raise SiteError(f"warehouse: {body.strip()}")
    return [json.loads(line) for line in body.splitlines() if line]


def session(site: Site) -> dict[str, Any]:
    """What the venue stand-in is serving; empty where the site trades against the venues themselves."""
    if not site.hosts_of("venue"):
        return {}
    found: dict[str, Any] = json.loads(get(site, "venue", 8090, "/control/session"))
    return found


def replay(site: Site, speed: float) -> dict[str, Any]:
    """Start a new session of the stand-in."""
    if not site.hosts_of("venue"):
        raise SiteError("this site has no venue stand-in: there is nothing to replay")
    reply: dict[str, Any] = json.loads(
        get(
            site,
            "venue",
            8090,
            "/control/session",
            data=json.dumps({"speed": speed}).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
    )
    return reply
