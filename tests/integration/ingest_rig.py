"""Real processes for the tests of the way into the warehouse: a Kafka broker, the warehouse server, the ingestor."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from baretick.warehouse.client import HttpDatabase

PASSWORD = "only-for-this-test"
LOG4J = """<Configuration status="WARN">
<Appenders><Console name="C"><PatternLayout pattern="%d %p %m (%c)%n"/></Console></Appenders>
<Loggers><Root level="WARN"><AppenderRef ref="C"/></Root></Loggers>
</Configuration>"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def kafka_home(unpack_to: Path) -> Path:
    """A folder with Kafka's libs/: BARETICK_KAFKA_HOME, or the artefact mirror's store; else the test is skipped."""
    if shutil.which("java") is None:
        pytest.skip("needs java (17 or newer) to run Kafka")
    if home := os.environ.get("BARETICK_KAFKA_HOME"):
        return Path(home)
    asked = subprocess.run([sys.executable, "-m", "infra.mirror", "path", "kafka"], capture_output=True, text=True)
    path = Path(asked.stdout.strip() or "/nonexistent")
    if asked.returncode or not path.exists():
        pytest.skip("no Kafka: run `python -m infra.mirror fill kafka`, or set BARETICK_KAFKA_HOME")
    if path.is_dir():
        return path
    with tarfile.open(path) as tar:
        tar.extractall(unpack_to, filter="data")
    return next(p.parent for p in unpack_to.glob("**/libs"))


class Process:
    """A process that can be killed and started again; its log is kept over restarts."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._running: subprocess.Popen[bytes] | None = None

    def spawn(self, argv: list[str], env: dict[str, str] | None = None) -> None:
        with self.log.open("ab") as out:
            self._running = subprocess.Popen(argv, stdout=out, stderr=out, env={**os.environ, **(env or {})})

    def kill(self) -> None:
        """kill -9."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None

    def terminate(self, timeout: float = 40) -> int:
        assert self._running is not None
        self._running.send_signal(signal.SIGTERM)
        code = self._running.wait(timeout)
        self._running = None
        return code

    def check(self) -> None:
        if self._running is not None and self._running.poll() is not None:
            raise AssertionError(f"{self.name} ended by itself: {self.log.read_text()[-3000:]}")


class Kafka(Process):
    def __init__(self, home: Path, folder: Path) -> None:
        super().__init__("kafka", folder)
        self._home = home
        self._port, controller = free_port(), free_port()
        self.address = f"127.0.0.1:{self._port}"
        self._config = folder / "server.properties"
        (folder / "log4j2.xml").write_text(LOG4J)
        self._log4j = folder / "log4j2.xml"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "log.dirs": str(folder / "kafka-logs"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "false",
        }
        self._config.write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        self._java("kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", str(self._config))

    def _argv(self, main: str, *args: str) -> list[str]:
        return [
            "java", "-Xmx512m", "-Xms256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            f"-Dlog4j2.configurationFile={self._log4j}", "-cp", f"{self._home}/libs/*", main, *args,
        ]  # fmt: skip

    def _java(self, main: str, *args: str) -> None:
        subprocess.run(self._argv(main, *args), check=True, capture_output=True)

    def start(self) -> None:
        self.spawn(self._argv("kafka.Kafka", str(self._config)))

    def wait(self, seconds: float = 180) -> AdminClient:
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            try:
                admin.list_topics(timeout=1)
                return admin
            except Exception:
                time.sleep(0.2)
        raise AssertionError(f"kafka does not answer: {self.log.read_text()[-3000:]}")

    def create_topics(self, partitions: dict[str, int]) -> None:
        topics = [NewTopic(name, num_partitions=n, replication_factor=1) for name, n in partitions.items()]
        admin = self.wait()  # kept: its futures end with it
        for future in admin.create_topics(topics).values():
            future.result(120)


class Warehouse(Process):
    def __init__(self, folder: Path) -> None:
        super().__init__("warehouse", folder)
        self._port = free_port()
        self._config = folder / "warehouse.yaml"
        self._config.write_text(
            f"warehouse_server: {{host: 127.0.0.1, port: {self._port}, path: {folder / 'clickhouse'}}}\n"
        )
        self.url = f"http://127.0.0.1:{self._port}"
        self.db = HttpDatabase(self.url, "baretick", PASSWORD)

    def start(self) -> None:
        env = {"BARETICK_WAREHOUSE_SERVER__USERS__BARETICK": PASSWORD}
        self.spawn([sys.executable, "-m", "baretick.cli", "warehouse-server", "-c", str(self._config)], env)

    def wait(self, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not self.db.ping():
            self.check()
            assert time.monotonic() < deadline, f"warehouse does not answer: {self.log.read_text()[-3000:]}"
            time.sleep(0.1)


class Ingestor(Process):
    def __init__(self, folder: Path, kafka: str, warehouse: Warehouse, **ingest: object) -> None:
        super().__init__("ingest", folder)
        self._http = free_port()
        self._config = folder / "ingest.yaml"
        knobs = ", ".join(f"{k}: {v}" for k, v in ingest.items())
        self._config.write_text(
            f"kafka: {{bootstrap_servers: '{kafka}'}}\n"
            f"clickhouse: {{url: '{warehouse.url}', user: baretick, password: {PASSWORD}}}\n"
            f"http: {{host: 127.0.0.1, port: {self._http}}}\n"
            f"ingest: {{{knobs}}}\n"
        )

    def start(self) -> None:
        self.spawn([sys.executable, "-m", "baretick.cli", "ingest", "-c", str(self._config)])

    def metrics(self) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._http}/metrics", timeout=5) as r:
                return r.read().decode()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return ""

    def health(self) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._http}/health", timeout=5) as r:
                return r.status
        except urllib.error.HTTPError as e:
            return e.code

    def lag(self) -> tuple[int, int]:
        """(partitions with a known lag, records behind)."""
        found = re.findall(r"^baretick_ingest_lag_records\{.*\} ([0-9.e+]+)$", self.metrics(), re.M)
        return len(found), sum(int(float(x)) for x in found)

    def wait_caught_up(self, partitions: int, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while self.lag() != (partitions, 0):
            self.check()
            assert time.monotonic() < deadline, f"lag {self.lag()}: {self.log.read_text()[-3000:]}"
            time.sleep(0.2)
