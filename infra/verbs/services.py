"""What runs where: unit, port and page of each service, in order of dependence. The one list the verbs go by."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    """A service of the site: its inventory group, systemd unit, main port and the page a person opens."""

    group: str
    unit: str
    port: int
    version: str
    """Shell command that prints the version on the host."""
    page: str | None = None
    forwards: tuple[int, ...] = ()
    """Ports that the local site also offers on loopback."""


SERVICES = (
    Service(
        "node_exporter",
        "prometheus-node-exporter",
        9100,
        "dpkg-query -W -f '${Version}' prometheus-node-exporter",
    ),
    Service(
        "kafka",
        "kafka",
        9092,
        "basename \"$(readlink -f /opt/kafka/current)\" | sed 's/.*-//'",
    ),
    Service(
        "redis",
        "valkey-server",
        6379,
        "dpkg-query -W -f '${Version}' valkey-server",
    ),
    Service(
        "minio",
        "minio",
        9002,
        "/usr/local/bin/minio --version | sed -n '1s/.* DEVELOPMENT[.]//p'",
        "/",
        (9001, 9002),
    ),
    Service(
        "clickhouse",
        "clickhouse",
        8123,
        '/opt/baretick/venv/bin/python -c \'from importlib.metadata import version as v; print("chdb", v("chdb"))\'',
        "/ping",
        (8123,),
    ),
    Service("venue", "baretick-venue", 8090, "/opt/baretick/venv/bin/baretick version", "/control/session", (8090,)),
    Service("engine", "baretick-engine", 8080, "/opt/baretick/venv/bin/baretick version", "/integrations", (8080,)),
    Service("ingest", "baretick-ingest", 8081, "/opt/baretick/venv/bin/baretick version", "/health", (8081,)),
    Service("prometheus", "prometheus", 9090, "dpkg-query -W -f '${Version}' prometheus", "/targets", (9090,)),
    Service("alertmanager", "alertmanager", 9093, "alertmanager --version 2>&1 | awk 'NR==1{print $3}'", "/", (9093,)),
)


def by_name(name: str) -> Service:
    """The service called `name` (its group or its unit); raises KeyError with the known names."""
    for service in SERVICES:
        if name in (service.group, service.unit, service.unit.removeprefix("baretick-")):
            return service
    raise KeyError(f"no service {name!r}; there are: {', '.join(s.group for s in SERVICES)}")
