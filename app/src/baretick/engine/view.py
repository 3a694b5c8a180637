"""What HTTP shows of the engine: is it healthy, and how each thing it is connected to is doing."""

import time
from typing import Any, Final

from baretick.engine.core import TradingCore
from baretick.engine.last_values import LastValues
from baretick.publish import KafkaPublisher
from baretick.venues import VenueClient

QUIET_AFTER_S: Final = 30.0
"""A connected venue that says nothing for so long is called quiet; its protocol's own keepalive acts sooner."""


class EngineView:
    """Read-only, asked from HTTP handlers; nothing here runs on the hot path."""

    def __init__(
        self,
        core: TradingCore,
        clients: dict[str, VenueClient],
        kafka: KafkaPublisher | None,
        redis: LastValues | None,
    ) -> None:
        self.core = core
        self.clients = clients
        self.kafka = kafka
        self.redis = redis
        self.started = time.time()
        self.phase = "starting"

    def unhealthy(self) -> list[str]:
        """Reasons why it should not be relied on; none when all is well."""
        reasons = []
        if self.phase != "running":
            reasons.append(f"engine is {self.phase}")
        for name, client in self.clients.items():
            if not client.stats.connected:
                reasons.append(f"{name}: not connected to {client.cfg.ws_url}")
        reasons += [f"{v}:{s}: book is not valid" for v, s in self.core.symbols if not self.core.book_valid((v, s))]
        if self.kafka is not None:
            if self.kafka.state in ("failed", "stalled"):
                reasons.append(f"kafka: {self.kafka.state}: {self.kafka.last_error or 'no acknowledgement'}")
            if self.kafka.failed:
                reasons.append(f"kafka: {self.kafka.failed} events were refused for good: {self.kafka.last_error}")
        if self.core.risk.killed_by is not None:
            reasons.append(f"kill switch: {self.core.risk.killed_by}")
        return reasons

    def health(self) -> dict[str, Any]:
        reasons = self.unhealthy()
        return {
            "status": "unhealthy" if reasons else "ok",
            "reasons": reasons,
            "phase": self.phase,
            "uptime_s": round(time.time() - self.started, 1),
        }

    def integrations(self) -> dict[str, Any]:
        """Every other system that the engine speaks to, by name."""
        found: dict[str, Any] = {name: self._venue(client) for name, client in self.clients.items()}
        if self.kafka is not None:
            found["kafka"] = {
                "url": self.kafka.cfg.bootstrap_servers,
                "state": self.kafka.state,
                "last_error": self.kafka.last_error,
                "produced": self.kafka.produced,
                "delivered": self.kafka.delivered,
                "outstanding": self.kafka.outstanding,
            }
        if self.redis is not None:
            found["redis"] = {
                "url": self.redis.url,
                "state": self.redis.state,
                "last_error": self.redis.last_error,
                "last_write_age_s": self.redis.age_s,
                "written": self.redis.written,
                "failures": self.redis.failures,
            }
        return found

    def _venue(self, client: VenueClient) -> dict[str, Any]:
        stats = client.stats
        age = (time.time_ns() - stats.last_recv_ts) / 1e9 if stats.last_recv_ts else None
        state = "connected" if stats.connected else "disconnected"
        if stats.connected and age is not None and age > QUIET_AFTER_S:
            state = "quiet"
        return {
            "url": client.cfg.ws_url,
            "state": state,
            "last_error": stats.last_error,
            "last_message_age_s": None if age is None else round(age, 3),
            "session": stats.session,
            "messages": stats.messages,
            "gaps": stats.gaps,
            "reconnects": stats.reconnects,
            "books": {symbol: book.valid for symbol, book in client.books.items()},
        }
