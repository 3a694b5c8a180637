"""The dynamic providers: keys and passwords made once, servers checked and brought back to life."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dill
import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from pulumi.dynamic import Config, ConfigureRequest
from pulumi.dynamic.dynamic import serialize_provider

from infra.dynamic import revive
from infra.dynamic.host_key import HostKeyProvider
from infra.dynamic.liveness import LivenessProvider
from infra.dynamic.random_secret import RandomSecretProvider
from infra.dynamic.server_api import ApiFault, ServerApi
from infra.keys import operator_key


class FakeHetzner:
    """Answers the calls as Hetzner does, from a list of prepared answers; keeps what was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.asked: list[str] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                assert self.headers["Authorization"] == "Bearer " + "t" * 64
                fake.asked.append(f"{self.command} {self.path}")
                status, body = fake.answers.pop(0)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            do_GET = do_POST = _answer

            def log_message(self, *_: object) -> None:
                """Nothing on the terminal."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def serves(self, status: str) -> "FakeHetzner":
        self.answers.append((200, {"server": {"id": 7, "status": status}}))
        return self

    def refuses(self, code: int, message: str = "no") -> "FakeHetzner":
        self.answers.append((code, {"error": {"code": "x", "message": message}}))
        return self

    def action(self, status: str, **more: object) -> "FakeHetzner":
        self.answers.append((200, {"action": {"id": 9, "status": status, **more}}))
        return self


@pytest.fixture(autouse=True)
def tracebacks() -> Iterator[None]:
    """A failing revival cuts tracebacks short in the plugin's process; here they are wanted whole."""
    yield
    if hasattr(sys, "tracebacklimit"):
        del sys.tracebacklimit


@pytest.fixture
def hetzner() -> Iterator[FakeHetzner]:
    fake = FakeHetzner()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()
    assert not fake.answers, f"never asked for: {fake.answers}"


@pytest.fixture
def api(hetzner: FakeHetzner) -> ServerApi:
    return ServerApi(hetzner.endpoint, "t" * 64, sleep=lambda _: None)


PROPS = {
    "stack": "unit-test",
    "server_id": 7.0,
    "name": "data-1",
    "address": "192.0.2.7",
    "host_key": "ssh-ed25519 AAAA data-1",
    "user": "root",
    "identity_file": "~/.ssh/id_ed25519",
}


def test_providers_are_pickled_by_name_so_that_the_state_holds_no_code() -> None:
    for provider in (HostKeyProvider(), RandomSecretProvider(), LivenessProvider()):
        pickled = serialize_provider(provider)
        assert len(pickled) < 200
        assert type(dill.loads(__import__("base64").b64decode(pickled))) is type(provider)


def test_a_host_key_is_a_pair_and_stays() -> None:
    made = HostKeyProvider().create({"host": "data-1"})
    private = load_ssh_private_key(made.outs["private_key"].encode(), None)
    assert private.public_key() == load_ssh_public_key(made.outs["public_key"].encode())
    assert made.outs["public_key"].endswith(" data-1")
    assert HostKeyProvider().diff("data-1", made.outs, {"host": "data-1"}).changes is False


def test_a_password_has_the_length_asked_for_and_is_never_the_same() -> None:
    values = {RandomSecretProvider().create({"purpose": "x", "length": 32.0}).outs["value"] for _ in range(20)}
    assert len(values) == 20
    assert all(len(v) == 32 and v.isalnum() and v.isascii() for v in values)


def test_a_password_changes_only_with_its_length() -> None:
    old = {"purpose": "x", "length": 32.0, "value": "v"}
    assert RandomSecretProvider().diff("x", old, {"purpose": "x", "length": 32.0}).changes is False
    assert RandomSecretProvider().diff("x", old, {"purpose": "x", "length": 40.0}).replaces == ["length"]


def test_the_operator_key_survives_a_lost_public_half(tmp_path: Path) -> None:
    first = operator_key(tmp_path / "id", "me")
    (tmp_path / "id.pub").unlink()
    assert operator_key(tmp_path / "id", "me") == first == (tmp_path / "id.pub").read_text().strip()


def configured(hetzner: FakeHetzner, monkeypatch: pytest.MonkeyPatch) -> LivenessProvider:
    monkeypatch.delenv("HCLOUD_ENDPOINT", raising=False)
    provider = LivenessProvider()
    settings = {
        "baretick:site": json.dumps({"name": "x", "environment": "hetzner"}),
        "baretick:hcloudToken": "t" * 64,
        "baretick:endpoint": hetzner.endpoint,
    }
    provider.configure(ConfigureRequest(Config(settings, "baretick")))
    return provider


def test_a_running_server_is_no_change(hetzner: FakeHetzner, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = configured(hetzner.serves("running"), monkeypatch)
    assert provider.diff("data-1", {**PROPS, "status": "running"}, PROPS).changes is False


@pytest.mark.parametrize("status", ["off", "initializing", "stopping"])
def test_a_server_that_does_not_run_is_a_change_but_no_replacement(
    hetzner: FakeHetzner, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    found = configured(hetzner.serves(status), monkeypatch).diff("data-1", {**PROPS, "status": "running"}, PROPS)
    assert found.changes is True and found.replaces == []


def test_a_server_that_is_gone_is_read_as_gone(hetzner: FakeHetzner, monkeypatch: pytest.MonkeyPatch) -> None:
    assert configured(hetzner.refuses(404), monkeypatch).read("data-1", PROPS).id == ""


def test_a_refresh_reads_the_status_as_it_is(hetzner: FakeHetzner, monkeypatch: pytest.MonkeyPatch) -> None:
    found = configured(hetzner.serves("off"), monkeypatch).read("data-1", {**PROPS, "status": "running"})
    assert found.id == "data-1" and found.outs["status"] == "off"


def test_a_server_that_is_off_is_powered_on_before_its_ssh_is_waited_for(
    hetzner: FakeHetzner, api: ServerApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[str] = []
    monkeypatch.setattr(revive, "wait_for_ssh", lambda props, patience: waited.append(props["name"]))
    hetzner.serves("off").action("running").action("running").action("success")
    revive.revive(api, PROPS)
    assert hetzner.asked == [
        "GET /v1/servers/7",
        "POST /v1/servers/7/actions/poweron",
        "GET /v1/actions/9",
        "GET /v1/actions/9",
    ]
    assert waited == ["data-1"]


def test_a_server_that_is_gone_is_told_before_anything_changes(
    hetzner: FakeHetzner, monkeypatch: pytest.MonkeyPatch
) -> None:
    (failure,) = configured(hetzner.refuses(404), monkeypatch).check({}, dict(PROPS)).failures
    assert "data-1 (7) was deleted behind Pulumi's back: run `pulumi up --refresh`" in failure.reason


def test_a_server_that_is_there_or_not_yet_known_passes(hetzner: FakeHetzner, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = configured(hetzner.serves("off"), monkeypatch)
    assert provider.check({}, dict(PROPS)).failures == []
    assert provider.check({}, {**PROPS, "server_id": object()}).failures == []


def test_a_power_on_that_fails_is_told_with_hetzners_reason(hetzner: FakeHetzner, api: ServerApi) -> None:
    hetzner.serves("off").action("error", error={"message": "no host available"})
    with pytest.raises(ApiFault, match="no host available"):
        revive.revive(api, PROPS)


def test_passing_trouble_is_tried_again(hetzner: FakeHetzner, api: ServerApi) -> None:
    hetzner.refuses(429).refuses(503).serves("running")
    assert api.status(7) == "running"
    assert len(hetzner.asked) == 3


def test_a_refused_token_is_told_at_once(hetzner: FakeHetzner, api: ServerApi) -> None:
    hetzner.refuses(401, "the token is not valid")
    with pytest.raises(ApiFault, match="401 the token is not valid"):
        api.status(7)


def test_an_api_that_is_not_there_is_told_with_its_address() -> None:
    with pytest.raises(ApiFault, match=r"http://127\.0\.0\.1:1/v1.*is the API up"):
        ServerApi("http://127.0.0.1:1/v1", "t" * 64).status(7)


def ended(code: int, said: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.CompletedProcess([], code, "", said)


def test_ssh_is_tried_until_it_answers_and_only_the_pinned_key_counts() -> None:
    tries: list[list[str]] = []
    known: list[str] = []

    def run(argv: list[str]) -> "subprocess.CompletedProcess[str]":
        tries.append(argv)
        (known_hosts,) = (a.partition("=")[2] for a in argv if a.startswith("UserKnownHostsFile="))
        known.append(Path(known_hosts).read_text())
        return ended(0 if len(tries) == 3 else 255, "Connection refused")

    revive.wait_for_ssh(PROPS, 30, run)
    assert len(tries) == 3
    assert known[0] == "data-1 ssh-ed25519 AAAA data-1\n"
    for wanted in (
        "StrictHostKeyChecking=yes",
        "HostKeyAlias=data-1",
        "GlobalKnownHostsFile=/dev/null",
        "BatchMode=yes",
    ):
        assert wanted in tries[0]


def test_a_host_with_another_key_is_never_alive() -> None:
    with pytest.raises(revive.NotAlive, match="Host key verification failed"):
        revive.wait_for_ssh(PROPS, 0.3, lambda _: ended(255, "warning\nHost key verification failed."))
