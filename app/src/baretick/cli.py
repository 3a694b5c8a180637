"""The `baretick` command: one verb a process of the site, and the verbs that a person runs by hand."""

import importlib
import importlib.metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from baretick.config import AppConfig, ConfigError, load

app = typer.Typer(
    name="baretick",
    help="Low-latency crypto trading: market data, engine, paper venue, warehouse.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="BARETICK_CONFIG", help="YAML file; BARETICK_* variables override it."),
]


def _load(path: Path | None) -> AppConfig:
    try:
        return load(path)
    except ConfigError as e:
        typer.echo(f"configuration: {e}", err=True)
        raise typer.Exit(2) from None


def _call(module: str, function: str, *args: Any, **kwargs: Any) -> None:
    """Import late: `baretick --help` must not pay for numba, chdb or librdkafka."""
    code = getattr(importlib.import_module(module), function)(*args, **kwargs)
    raise typer.Exit(code or 0)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(importlib.metadata.version("baretick"))


@app.command()
def engine(config: ConfigOption = None) -> None:
    """Run the engine: venue connections, books, signal, risk, paper venue; publish everything to Kafka."""
    _call("baretick.engine", "main", _load(config))


@app.command()
def exchange(config: ConfigOption = None) -> None:
    """Run the matching engine as a service: order entry over websocket, journal, snapshots, risk limits."""
    _call("baretick.exchange.service", "main", _load(config))


@app.command()
def ingest(config: ConfigOption = None) -> None:
    """Move Kafka to ClickHouse so that each record lands exactly once."""
    _call("baretick.warehouse.ingest", "main", _load(config))


@app.command()
def standin(config: ConfigOption = None) -> None:
    """Serve recorded (or synthetic) sessions over the venues' own protocols."""
    _call("baretick.venues.standin.server", "main", _load(config))


@app.command("warehouse-server")
def warehouse_server(config: ConfigOption = None) -> None:
    """Serve the embedded ClickHouse engine over ClickHouse's HTTP interface."""
    _call("baretick.warehouse.server", "main", _load(config))


@app.command()
def migrate(
    config: ConfigOption = None,
    status: Annotated[bool, typer.Option("--status", help="Only list what is applied and what is pending.")] = False,
) -> None:
    """Apply the pending warehouse migrations; refuse if an applied one was changed."""
    _call("baretick.warehouse.migrate", "main", _load(config), status=status)


@app.command()
def seed(config: ConfigOption = None) -> None:
    """Load reference data (hft_data.symbols) from the venues' instrument lists."""
    _call("baretick.warehouse.seed", "main", _load(config))


@app.command()
def demo(
    config: ConfigOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the plot and the warehouse.")] = Path("out"),
    seconds: Annotated[float, typer.Option(help="How long to trade.")] = 30.0,
    live: Annotated[bool, typer.Option("--live", help="Connect to the venues themselves.")] = False,
) -> None:
    """The whole pipeline in one process, without root or hosts: a session, fills, a table and a plot."""
    _call("baretick.demo", "main", _load(config), out=out, seconds=seconds, live=live)


@app.command()
def bench(
    stream: Annotated[Path | None, typer.Option(help="Replay this stream file instead of a generated one.")] = None,
    orders: Annotated[int, typer.Option(help="Commands of the generated stream.")] = 1_000_000,
    symbols: Annotated[int, typer.Option(help="Symbols of the generated stream.")] = 1,
    mix: Annotated[str, typer.Option(help="market, passive, takers, amends or deep.")] = "market",
    comprehensive: Annotated[
        bool, typer.Option("--comprehensive", help="Also: cost by feature, depth, length, one call.")
    ] = False,
    peers: Annotated[bool, typer.Option("--peers", help="Build and run other engines on the same file.")] = False,
    peers_dir: Annotated[Path | None, typer.Option(help="Their harnesses, outside a checkout.")] = None,
    rate: Annotated[float, typer.Option(help="Also an open loop at this many commands a second.", min=0.0)] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for latency.png and baretick.hgrm.")] = None,
) -> None:
    """Measure the matching engine: latency, throughput, memory, page faults, digests."""
    _call(
        "baretick.bench.main",
        "main",
        stream=stream,
        count=orders,
        symbols=symbols,
        mix=mix,
        comprehensive=comprehensive,
        with_peers=peers,
        peers_dir=peers_dir,
        rate=rate,
        as_json=json,
        out=out,
    )


if __name__ == "__main__":
    app()
