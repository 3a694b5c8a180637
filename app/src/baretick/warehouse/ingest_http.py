"""What the ingestor tells: Prometheus metrics on /metrics, and on /health whether it gets its work done."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from baretick.warehouse.rows import DEAD_LETTERS, Batch

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Telemetry:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self._lag = Gauge(
            "baretick_ingest_lag_records", "Records in Kafka that have not landed.", ["topic", "partition"], registry=r
        )
        self._partitions = Gauge("baretick_ingest_partitions", "Partitions owned whose lag is known.", registry=r)
        self._rows = Counter("baretick_ingest_rows", "Rows landed.", ["table"], registry=r)
        self._records = Counter("baretick_ingest_records", "Kafka records landed.", ["topic"], registry=r)
        self._batches = Counter("baretick_ingest_batches", "Batches landed.", ["topic"], registry=r)
        self._bytes = Counter("baretick_ingest_bytes", "Bytes of records landed.", registry=r)
        self._replays = Counter("baretick_ingest_replays", "Batches whose fate was checked after a start.", registry=r)
        self._failures = Counter("baretick_ingest_failures", "Attempts that failed and were repeated.", registry=r)
        self._dead = Counter("baretick_ingest_dead_letters", "Records that could not be decoded.", registry=r)
        self._expired = Counter("baretick_ingest_expired_records", "Records Kafka dropped unread.", registry=r)
        self._last = Gauge("baretick_ingest_last_insert_timestamp_seconds", "When a batch last landed.", registry=r)
        self._delay = Gauge(
            "baretick_ingest_delay_seconds", "Reception of the newest row of the last batch to its landing.", registry=r
        )
        self._seconds = Histogram(
            "baretick_ingest_batch_seconds", "Claiming and inserting a batch.", buckets=_BUCKETS, registry=r
        )
        self._guard = threading.Lock()
        self._lags: dict[tuple[str, int], int] = {}
        self._problems: dict[str, str] = {}

    def lag(self, topic: str, partition: int, records: int) -> None:
        with self._guard:
            self._lags[topic, partition] = records
            self._partitions.set(len(self._lags))
        self._lag.labels(topic, str(partition)).set(records)

    def forget_partitions(self) -> None:
        with self._guard:
            self._lags.clear()
            self._partitions.set(0)
        self._lag.clear()

    def landed(self, batch: Batch, seconds: float) -> None:
        self.solved(batch.token)
        for table in batch.tables:
            self._rows.labels(table.name).inc(table.rows)
            if table.name == DEAD_LETTERS:
                self._dead.inc(table.rows)
        self._records.labels(batch.topic).inc(batch.messages)
        self._batches.labels(batch.topic).inc()
        self._bytes.inc(batch.size)
        self._last.set_to_current_time()
        self._seconds.observe(seconds)
        if batch.recv_span[1]:
            self._delay.set(time.time() - batch.recv_span[1] / 1e9)

    def replayed(self, batch: Batch) -> None:
        self._replays.inc()

    def expired(self, records: int) -> None:
        self._expired.inc(records)

    def problem(self, what: str, text: str) -> None:
        self._failures.inc()
        with self._guard:
            self._problems[what] = text

    def solved(self, what: str) -> None:
        with self._guard:
            self._problems.pop(what, None)

    def health(self) -> dict[str, object]:
        with self._guard:
            return {
                "status": "degraded" if self._problems else "ok" if self._lags else "waiting",
                "partitions": len(self._lags),
                "lag": sum(self._lags.values()),
                "problems": [f"{what}: {text}" for what, text in sorted(self._problems.items())],
            }

    def serve(self, host: str, port: int) -> ThreadingHTTPServer:
        """Answer on host:port from a thread of its own until shutdown()."""
        telemetry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._send(200, CONTENT_TYPE_LATEST, generate_latest(telemetry.registry))
                elif self.path == "/health":
                    health = telemetry.health()
                    status = 503 if health["status"] == "degraded" else 200
                    self._send(status, "application/json", json.dumps(health).encode() + b"\n")
                else:
                    self._send(404, "text/plain; charset=utf-8", b"only /metrics and /health are here\n")

            def _send(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Scrapes are not worth a log line."""

        server = ThreadingHTTPServer((host, port), Handler)
        threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
        return server
