"""The mirror over HTTP, for the hosts of a site: `/<name>/<version>/<file>`, `/wheels/` for pip, `/manifest.json`."""

import html
from pathlib import Path
from typing import Any

from aiohttp import web

from infra.mirror import layout, store
from infra.mirror.errors import MirrorError
from infra.mirror.manifest import Artefact, find, load


def make_app() -> web.Application:
    """Read-only; the store is looked up on each request, so an artefact filled later is served without a restart."""
    app = web.Application()
    app.add_routes(
        [
            web.get("/", _index),
            web.get("/manifest.json", _manifest),
            web.get("/wheels/", _wheel_page),
            web.get("/wheels/{file}", _wheel),
            web.get("/{name}/{version}/{file}", _file),
        ]
    )
    return app


def serve(host: str, port: int) -> None:
    """Serve until interrupted."""
    web.run_app(make_app(), host=host, port=port, print=None, access_log=None)


def _stored() -> list[Artefact]:
    return [a for a in load() if a.stored]


async def _index(_request: web.Request) -> web.Response:
    return web.Response(text="".join(f"/{a.name}/{a.version}/{f}\n" for a in _stored() for f in a.files) + "/wheels/\n")


async def _manifest(_request: web.Request) -> web.Response:
    entries: list[dict[str, Any]] = [
        {
            "name": a.name,
            "version": a.version,
            "upstream": a.upstream,
            "obtained_by": a.obtain.kind,
            "files": a.files,
            "present": layout.folder(a).is_dir() if a.stored else None,
        }
        for a in load()
    ]
    return web.json_response({"artefacts": entries})


def _wheels() -> dict[str, Path]:
    return {p.name: p for p in store.path("wheels").glob("*.whl")}


async def _wheel_page(_request: web.Request) -> web.Response:
    """A find-links page: pip takes its wheels from here and checks them against the lock's hashes."""
    try:
        names = sorted(_wheels())
    except MirrorError as e:
        raise web.HTTPNotFound(text=f"{e}\n") from e
    links = "".join(f'<a href="{html.escape(n)}">{html.escape(n)}</a><br>\n' for n in names)
    return web.Response(text=f"<!DOCTYPE html><title>wheels</title>\n{links}", content_type="text/html")


async def _wheel(request: web.Request) -> web.StreamResponse:
    try:
        wheel = _wheels().get(request.match_info["file"])
    except MirrorError as e:
        raise web.HTTPNotFound(text=f"{e}\n") from e
    if wheel is None:
        raise web.HTTPNotFound(text=f"wheels: no {request.match_info['file']} among those of the lock\n")
    return web.FileResponse(wheel)


async def _file(request: web.Request) -> web.StreamResponse:
    name, version, file = (request.match_info[k] for k in ("name", "version", "file"))
    try:
        artefact = find(name)
    except MirrorError as e:
        raise web.HTTPNotFound(text=f"{e}\n") from e
    # Only names of the manifest are served: nothing of a request is ever joined to a path.
    if version != artefact.version or file not in artefact.files:
        raise web.HTTPNotFound(
            text=f"{name}: no {version}/{file} here; expected {artefact.version}/{', '.join(artefact.files) or '-'}\n"
        )
    path = layout.folder(artefact) / file
    if not path.is_file():
        raise web.HTTPNotFound(
            text=f"{name} {version}: {file} is missing in the store; python -m infra.mirror fill {name}\n"
        )
    return web.FileResponse(path)
