"""The venue stand-in: it says what it serves, and serves it on the private address alone."""

import json

import pytest

from tests.host.fleet import SANDBOX, Node, on

pytestmark = pytest.mark.site
UNIT = "baretick-venue"


@on("venue")
def test_it_runs_and_starts_at_boot(node: Node) -> None:
    node.assert_running(UNIT)


@on("venue")
def test_it_listens_on_the_private_address_alone(node: Node) -> None:
    assert node.listeners(8090) == {node.ip}


@on("venue")
def test_it_runs_unprivileged_in_a_sandbox(node: Node) -> None:
    facts = node.sandbox(UNIT)
    assert facts["User"] == "baretick"
    assert {name: facts[name] for name in SANDBOX} == SANDBOX


@on("venue")
def test_it_says_where_its_session_comes_from(node: Node) -> None:
    status, body = node.get(8090, "/control/session")
    assert status == 200
    sources = {venue: session["source"] for venue, session in json.loads(body)["venues"].items()}
    assert sources
    recorded = node.host.file("/var/lib/baretick/captures").exists
    expected = "capture:" if recorded else "synthetic:"
    assert [s for s in sources.values() if not s.startswith(expected)] == []


@on("venue")
def test_captures_are_not_for_everyone(node: Node) -> None:
    folder = node.host.file("/var/lib/baretick/captures")
    if not folder.exists:
        pytest.skip("no captures were given: the session is synthetic")
    assert (folder.group, folder.mode) == ("baretick", 0o750)
