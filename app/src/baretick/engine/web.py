"""The engine's HTTP page: /metrics, /health, /integrations."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from baretick.config import HttpConfig
from baretick.engine.metrics import registry
from baretick.engine.view import EngineView


def application(view: EngineView) -> web.Application:
    own = registry(view)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(own), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(_: web.Request) -> web.Response:
        body = view.health()
        return web.json_response(body, status=503 if body["reasons"] else 200)

    async def integrations(_: web.Request) -> web.Response:
        return web.json_response(view.integrations())

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/health", health)
    app.router.add_get("/integrations", integrations)
    return app


async def serve(view: EngineView, cfg: HttpConfig) -> web.AppRunner:
    """Start serving; the caller cleans the runner up. Raises OSError where the address cannot be bound."""
    runner = web.AppRunner(application(view), access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, cfg.host, cfg.port).start()
    return runner
