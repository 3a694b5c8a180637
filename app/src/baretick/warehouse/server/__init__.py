"""The embedded ClickHouse engine behind ClickHouse's HTTP interface: `baretick warehouse-server`."""

import asyncio
import logging
import signal

from aiohttp import web

from baretick.config import AppConfig, WarehouseServerConfig
from baretick.warehouse.server.auth import Users
from baretick.warehouse.server.engine import DataPathLocked, Engine
from baretick.warehouse.server.http import make_app

log = logging.getLogger(__name__)

DRAIN_SECONDS = 60.0


async def serve(cfg: WarehouseServerConfig, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then let running requests end and close the engine."""
    engine = Engine(cfg.path)
    try:
        users = Users({name: password.get_secret_value() for name, password in cfg.users.items()})
        # Handlers decompress bodies themselves: one body may hold several concatenated frames.
        runner = web.AppRunner(
            make_app(engine, users), auto_decompress=False, shutdown_timeout=DRAIN_SECONDS, access_log=None
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, cfg.host, cfg.port).start()
            log.info("ClickHouse %s serves %s on http://%s:%d", engine.version, cfg.path, cfg.host, cfg.port)
            await stop.wait()
            log.info("stopping: running requests may take up to %.0f s", DRAIN_SECONDS)
        finally:
            await runner.cleanup()
    finally:
        engine.close()
    log.info("stopped; %s is closed", cfg.path)


async def _run(cfg: WarehouseServerConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    await serve(cfg, stop)


def main(cfg: AppConfig) -> int:
    logging.basicConfig(level=cfg.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    server = cfg.warehouse_server
    if not server.users:
        log.error("no users: set warehouse_server.users (name: password); nobody could log in otherwise")
        return 2
    try:
        asyncio.run(_run(server))
    except DataPathLocked as e:
        log.error("%s", e)
        return 3
    except OSError as e:
        log.error("cannot listen on %s:%d: %s", server.host, server.port, e.strerror or e)
        return 3
    return 0
