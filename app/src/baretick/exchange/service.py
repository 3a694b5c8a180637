"""The exchange as a process: recover, take orders, reload limits, snapshot, and stop without losing anything."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections import Counter
from typing import Final, NamedTuple

import numpy as np
import uvloop

from baretick import host
from baretick.config import AppConfig, ConfigError, ExchangeConfig, LoginConfig
from baretick.exchange import limits as limits_file
from baretick.exchange import place, ring, view
from baretick.exchange.core import Core
from baretick.exchange.delivery import Delivery
from baretick.exchange.gateway import Gateway, tokens
from baretick.exchange.limits import Limits
from baretick.exchange.warm import warm
from baretick.journal import recovery
from baretick.journal.policy import Fsync
from baretick.journal.segments import CorruptError
from baretick.journal.writer import Journal
from baretick.matching import digest, kernel
from baretick.matching.layout import H_EVENT_BASE, allocate
from baretick.matching.records import Op, Scope, Words, commands, words

log = logging.getLogger(__name__)

STOPPING: Final = (1001, "the exchange is stopping")
FAILED: Final = (1011, "the engine failed")
SIZES: Final = ("symbols", "accounts", "orders", "events")


class Restored(NamedTuple):
    """What recovery brought back."""

    arena: Words
    journal: Journal
    delivery: Delivery
    snapshot_seq: int


def restore(cfg: ExchangeConfig, outgoing: Words) -> Restored:
    """The engine in the folder, in the memory that is configured, and the events that are still known.

    CorruptError for a folder that cannot be trusted, ConfigError for one of an engine of another size.
    """

    def make() -> Words:
        return allocate(cfg.symbols, cfg.accounts, cfg.orders, cfg.events)

    state = recovery.recover(cfg.folder, make)
    for bad in state.bad_snapshots:
        log.warning("passed over a snapshot: %s", bad)
    if state.torn is not None:
        log.warning("cut %d bytes from %s at %d: %s", state.torn.cut_bytes, *state.torn[:2], state.torn.reason)
    found = dict(zip(SIZES, state.arena[2:6].tolist(), strict=True))
    if found != (wanted := {name: getattr(cfg, name) for name in SIZES}):
        raise ConfigError(
            f"{cfg.folder} holds an engine of {found}, the configuration says {wanted}: "
            "set exchange." + ", exchange.".join(SIZES) + " to what it holds, or name another folder"
        )
    arena = place.take(state.arena.nbytes, "engine", hugepages=cfg.hugepages, node=cfg.numa_node)
    arena = arena[: len(state.arena)]
    arena[:] = state.arena
    kernel.attach(arena)
    delivery = Delivery(outgoing, cfg.history_events, int(arena[H_EVENT_BASE // 8]) - 1)
    try:
        past = recovery.past(cfg.folder, make, delivery.recall)
    except CorruptError as e:
        log.warning("events of before the snapshot are not known: %s", e)
    else:
        if digest.fold_state(past.arena) != digest.fold_state(state.arena):
            raise CorruptError(cfg.folder, 0, "the oldest snapshot and the newest lead to different engines")
    journal = Journal(cfg.folder, state.next_seq, state.chain, Fsync.parse(cfg.fsync))
    log.info(
        "recovered up to command %d: snapshot of %d, %d replayed; events known from %d on",
        state.next_seq - 1, state.snapshot_seq, state.replayed, delivery.first_seq,
    )  # fmt: skip
    return Restored(arena, journal, delivery, state.snapshot_seq)


class Exchange:
    """One exchange process. `run` returns the exit code."""

    def __init__(self, cfg: AppConfig, limits: Limits, logins: dict[bytes, LoginConfig]) -> None:
        self.cfg, self.limits = cfg, limits
        self.core: Core | None = None
        self.gateway: Gateway | None = None
        self.phase, self.started = "starting", time.time()
        self.reloads: Counter[str] = Counter(ok=0, refused=0)
        self.reload_error: str | None = None
        self.snapshot_error: str | None = None
        self.snapshot_seq = 0
        self._logins = logins
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._signals = 0
        self._seen = self._file_mark()

    async def run(self) -> int:
        running = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            running.add_signal_handler(number, self._on_signal, number)
        running.add_signal_handler(signal.SIGHUP, self._reload.set)
        host.pin(self.cfg.cpu_affinity)
        try:
            page = await view.serve(self, self.cfg.http)
        except OSError as e:
            log.error("http: cannot listen on %s:%d: %s", self.cfg.http.host, self.cfg.http.port, e.strerror)
            return 1
        try:
            return await self._run(self.cfg.exchange)
        finally:
            await page.cleanup()

    async def _run(self, cfg: ExchangeConfig) -> int:
        self.phase = "recovering"
        wakes = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2)]
        inbox, outbox = (
            ring.create(
                place.take(ring.size_of(slots), what, hugepages=False, node=cfg.numa_node), slots, wake
            )
            for slots, what, wake in zip(
                (cfg.inbox_slots, cfg.outbox_slots), ("ring of commands", "ring of events"), wakes, strict=True
            )
        )  # fmt: skip
        try:
            took = await asyncio.to_thread(warm)
            log.info("compiled code ready in %.1f s", took)
            found = await asyncio.to_thread(restore, cfg, outbox)
        except (CorruptError, ConfigError) as e:
            log.error("%s", e)
            return 2
        except OSError as e:
            log.error("exchange.folder: %s: %s", e.filename or cfg.folder, e.strerror)
            return 1
        self.snapshot_seq = found.snapshot_seq
        running = asyncio.get_running_loop()
        spin = -1 if cfg.wait == "spin" else int(cfg.spin_us * 1000)
        core = Core(
            found.arena, found.journal, inbox, outbox, cpu=cfg.core_cpu, spin_ns=spin,
            on_end=lambda: running.call_soon_threadsafe(self._stop.set),
        )  # fmt: skip
        self.core = core
        self.gateway = gateway = Gateway(cfg, core, found.delivery, self._logins, wakes[1])
        core.start()
        try:
            await asyncio.wrap_future(core.call(lambda: self._begin(core)))
            gateway.use(self.limits)
            await gateway.start()
        except ConfigError as e:
            log.error("limits: %s", e)
            return await self._leave(core, 2)
        except OSError as e:
            log.error("order entry: cannot listen on %s:%d: %s", cfg.host, cfg.port, e.strerror)
            return await self._leave(core, 1)
        except RuntimeError as e:  # the core has ended
            log.error("%s", e)
            return 1
        host.quiet_collector()
        self.phase = "running"
        log.info("order entry: ws://%s:%d/orders", cfg.host, gateway.port)
        helpers = [asyncio.create_task(self._reloads(core)), asyncio.create_task(self._snapshots(core))]
        await self._stop.wait()
        for task in helpers:
            task.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        return await self._shut(core, gateway)

    async def _leave(self, core: Core, code: int) -> int:
        """Before anything was taken."""
        await asyncio.wrap_future(core.stop())
        await asyncio.to_thread(core.join)
        core.journal.close()
        return code

    async def _shut(self, core: Core, gateway: Gateway) -> int:
        """Drain, snapshot, exit 0; 1 if the core had ended."""
        self.phase, began = "stopping", time.monotonic()
        drained = await gateway.drain()
        await gateway.stop(*(STOPPING if core.alive else FAILED))
        if not core.alive:
            log.error("stopped because the core ended: %s", core.failure)
            return 1
        await gateway.everything_taken()
        try:
            await asyncio.wrap_future(core.call(lambda: core.snapshot(self.cfg.exchange.snapshots_kept)))
            await asyncio.wrap_future(core.stop())
        except (OSError, RuntimeError) as e:
            log.error("the last snapshot failed, the journal has everything: %s", e)
            return 1
        await asyncio.to_thread(core.join)
        gateway.forget()
        core.journal.close()
        log.info(
            "stopped in %.2f s at command %d%s", time.monotonic() - began, core.durable,
            "" if drained else "; some sessions had not read everything",
        )  # fmt: skip
        return 0 if core.failure is None else 1

    # Limits.

    def _begin(self, core: Core) -> None:
        """On the core's thread, before the first session: the limits file, and the end of sessions that a crash cut."""
        rows = [limits_file.changes(core.arena, self.limits)]
        ended = [x.account for x in self._logins.values() if x.cancel_on_disconnect]
        gone = commands(len(ended))
        gone["op"], gone["option"], gone["ts"] = Op.MASS_CANCEL, Scope.ACCOUNT, time.time_ns()
        gone["account"] = ended
        core.execute(np.concatenate([*rows, words(gone)]))

    async def _reloads(self, core: Core) -> None:
        """Read the limits again on SIGHUP, and when the file has changed."""
        poll = self.cfg.exchange.reload_poll_s or None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(poll):
                    await self._reload.wait()
            mark = self._file_mark()
            if self._reload.is_set() or mark != self._seen:
                self._reload.clear()
                self._seen = mark
                await self._reload_now(core)

    async def _reload_now(self, core: Core) -> None:
        path = self.cfg.exchange.limits
        assert path is not None

        def apply(wanted: Limits) -> int:
            rows = limits_file.changes(core.arena, wanted, self.limits)
            core.execute(rows)
            return len(rows)

        try:
            wanted = limits_file.read(path)
            n = await asyncio.wrap_future(core.call(lambda: apply(wanted)))
        except ConfigError as e:
            self.reloads["refused"] += 1
            self.reload_error = str(e)
            log.error("limits: nothing was changed: %s", e)
            return
        self.limits, self.reload_error = wanted, None
        if self.gateway is not None:
            self.gateway.use(wanted)
        self.reloads["ok"] += 1
        log.info("limits: read again, %d changes", n)

    def _file_mark(self) -> tuple[int, int, int] | None:
        path = self.cfg.exchange.limits
        try:
            s = path.stat() if path is not None else None
        except OSError:
            return None
        return (s.st_mtime_ns, s.st_size, s.st_ino) if s is not None else None

    # Snapshots.

    async def _snapshots(self, core: Core) -> None:
        """Now and then a snapshot by another process, so that recovery stays short and the core undisturbed."""
        cfg = self.cfg.exchange
        while cfg.snapshot_every:
            await asyncio.sleep(0.5)
            if core.durable - self.snapshot_seq < cfg.snapshot_every:
                continue
            sizes = [str(getattr(cfg, name)) for name in SIZES]
            program = [sys.executable, "-m", "baretick.journal.snapshotter", str(cfg.folder), *sizes]
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(*program, stdout=pipe, stderr=pipe)
            try:
                out, err = await process.communicate()
            except asyncio.CancelledError:
                process.kill()
                await process.wait()
                raise
            if process.returncode == 0:
                self.snapshot_seq, self.snapshot_error = int(out), None
                await asyncio.to_thread(recovery.prune, cfg.folder, cfg.snapshots_kept)
            else:
                self.snapshot_error = err.decode(errors="replace").strip()[-500:]
                log.error("no snapshot was made, the journal grows: %s", self.snapshot_error)
                await asyncio.sleep(10)

    def _on_signal(self, number: int) -> None:
        self._signals += 1
        name = signal.Signals(number).name
        if self._signals > 1:
            log.error("%s again: leaving at once; what was acknowledged is in the journal", name)
            logging.shutdown()
            os._exit(128 + number)
        log.info("%s: draining", name)
        self._stop.set()


def main(cfg: AppConfig) -> int:
    """Run the exchange until SIGTERM; 0 when it ended clean, 1 when it failed, 2 when it cannot be run like this."""
    logging.basicConfig(level=cfg.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        if cfg.exchange.limits is None:
            raise ConfigError("exchange.limits: name the file that has the symbol table and the risk limits")
        limits = limits_file.read(cfg.exchange.limits)
        logins = tokens(cfg.exchange.logins)
    except ConfigError as e:
        log.error("configuration: %s", e)
        return 2
    return uvloop.run(_run(cfg, limits, logins))


async def _run(cfg: AppConfig, limits: Limits, logins: dict[bytes, LoginConfig]) -> int:
    return await Exchange(cfg, limits, logins).run()


__all__ = ["Exchange", "main", "restore"]
