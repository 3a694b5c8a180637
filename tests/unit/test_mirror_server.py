"""The mirror over HTTP: the manifest's files and nothing else, wheels as pip reads them, errors with a cure."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from infra.mirror import manifest, server, store
from infra.mirror.manifest import Artefact, find

Client = TestClient[Request, Application]


@pytest.fixture
async def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setenv("BARETICK_CACHE", str(tmp_path))
    entry = {
        "name": "tool",
        "version": "1.0",
        "upstream": "https://example.org/tool",
        "file": "tool.tgz",
        "sha256": hashlib.sha256(b"content").hexdigest(),
        "obtain": {"kind": "go", "source": "tool", "binaries": {"tool": "."}},
    }
    tool = Artefact.model_validate(entry)
    known = {"tool": tool, "wheels": find("wheels")}
    monkeypatch.setattr(server, "load", lambda: list(known.values()))
    monkeypatch.setattr(server, "find", lambda name: known.get(name) or manifest.find(name))
    stored = tmp_path / "artefacts" / "tool" / "1.0"
    stored.mkdir(parents=True)
    (stored / "tool.tgz").write_bytes(b"content")
    (tmp_path / "secret").write_text("not yours")
    async with TestClient(TestServer(server.make_app())) as client:
        yield client


async def test_a_file_of_the_manifest_is_served(client: Client) -> None:
    answer = await client.get("/tool/1.0/tool.tgz")
    assert answer.status == 200
    assert await answer.read() == b"content"


async def test_another_version_is_refused_with_the_one_that_is_here(client: Client) -> None:
    answer = await client.get("/tool/0.9/tool.tgz")
    assert answer.status == 404
    assert "expected 1.0/tool.tgz" in await answer.text()


@pytest.mark.parametrize(
    "path", ["/tool/1.0/..%2f..%2f..%2fsecret", "/tool/1.0/other", "/nothing/1/x", "/wheels/..%2fx"]
)
async def test_nothing_but_the_manifests_files_is_served(client: Client, path: str) -> None:
    answer = await client.get(path)
    assert answer.status == 404
    assert "not yours" not in await answer.text()


async def test_a_file_missing_in_the_store_says_how_to_get_it(client: Client, tmp_path: Path) -> None:
    (tmp_path / "artefacts" / "tool" / "1.0" / "tool.tgz").unlink()
    answer = await client.get("/tool/1.0/tool.tgz")
    assert answer.status == 404
    assert "python -m infra.mirror fill tool" in await answer.text()


async def test_wheels_are_a_page_of_links_that_pip_can_follow(client: Client) -> None:
    assert (await client.get("/wheels/")).status == 404
    folder = store.folder(find("wheels"))
    folder.mkdir(parents=True)
    (folder / "one-1.0-py3-none-any.whl").write_bytes(b"wheel")
    page = await client.get("/wheels/")
    assert '<a href="one-1.0-py3-none-any.whl">' in await page.text()
    assert await (await client.get("/wheels/one-1.0-py3-none-any.whl")).read() == b"wheel"


async def test_the_manifest_says_what_is_present(client: Client) -> None:
    entries = {e["name"]: e for e in (await (await client.get("/manifest.json")).json())["artefacts"]}
    assert entries["tool"]["present"] is True
    assert entries["tool"]["files"] == {"tool.tgz": hashlib.sha256(b"content").hexdigest()}
    assert entries["wheels"]["present"] is False
