"""The embedded server as its clients meet it: clickhouse-connect, plain HTTP, Prometheus, systemd and kill -9."""

import datetime as dt
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from baretick.warehouse.client import HttpDatabase, WarehouseError, WarehouseUnavailable
from tests.integration.ingest_rig import PASSWORD, Warehouse, free_port

LOGIN = {"X-ClickHouse-User": "baretick", "X-ClickHouse-Key": PASSWORD}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    warehouse = Warehouse(tmp_path_factory.mktemp("warehouse"))
    warehouse.start()
    try:
        warehouse.wait()
        warehouse.db.command("CREATE DATABASE d")
        yield warehouse
    finally:
        warehouse.kill()


@pytest.fixture
def client(server: Warehouse) -> Iterator[Client]:
    host, port = server.url.removeprefix("http://").split(":")
    with clickhouse_connect.get_client(host=host, port=int(port), username="baretick", password=PASSWORD) as c:
        yield c


def ask(
    server: Warehouse, sql: str = "", *, method: str = "POST", headers: dict[str, str] | None = None, **params: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    query = {**params, **({"query": sql} if method == "GET" and sql else {})}
    body = sql.encode() if method == "POST" else None
    connection.request(method, "/?" + urllib.parse.urlencode(query), body, LOGIN if headers is None else headers)
    response = connection.getresponse()
    return response.status, response.headers, response.read()


ROWS = [
    [1, "x", Decimal("1.25"), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)],
    [2, "y", Decimal("-2.5"), dt.datetime(2024, 1, 2, tzinfo=dt.UTC)],
]


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_clickhouse_connect_writes_and_reads_back(server: Warehouse, compress: bool | str) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with clickhouse_connect.get_client(
        host=host, port=int(port), username="baretick", password=PASSWORD, compress=compress
    ) as c:
        c.command("DROP TABLE IF EXISTS d.t")
        c.command(
            "CREATE TABLE d.t (a UInt64, b LowCardinality(String), p Decimal(18, 10), t DateTime64(9, 'UTC')) "
            "ENGINE = MergeTree ORDER BY a"
        )
        c.insert("d.t", ROWS, column_names=["a", "b", "p", "t"])
        got = c.query("SELECT * FROM d.t ORDER BY a").result_rows
        assert [r[:3] for r in got] == [tuple(r[:3]) for r in ROWS]
        assert c.query("SELECT b FROM d.t WHERE a > {x:UInt64}", parameters={"x": 1}).result_rows == [("y",)]
        assert c.query_arrow("SELECT * FROM d.t").num_rows == 2
        assert c.query_df("SELECT sum(p) AS s FROM d.t")["s"][0] == Decimal("-1.25")
        big = [[n, "z", Decimal(n), ROWS[0][3]] for n in range(100_000)]
        c.insert("d.t", big, column_names=["a", "b", "p", "t"])
        assert c.command("SELECT count() FROM d.t") == 100_002


def test_a_long_result_streams_through_the_client(client: Client) -> None:
    with client.query_rows_stream("SELECT number FROM numbers(300000)") as rows:
        assert sum(row[0] for row in rows) == 300_000 * 299_999 // 2


def test_a_session_keeps_its_temporary_tables_and_settings(server: Warehouse, client: Client) -> None:
    client.command("CREATE TEMPORARY TABLE mine (a Int8)")
    client.command("INSERT INTO mine VALUES (1)")
    assert client.command("SELECT count() FROM mine") == 1
    status, _, text = ask(server, "SELECT 1", session_id="never-seen", session_check="1")
    assert (status, text.startswith(b"Code: 372.")) == (404, True)


def test_a_session_in_use_is_locked(server: Warehouse) -> None:
    slow = threading.Thread(target=ask, args=(server, "SELECT sleep(1.5)"), kwargs={"session_id": "one"})
    slow.start()
    time.sleep(0.5)
    status, headers, _ = ask(server, "SELECT 1", session_id="one")
    slow.join()
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (423, "373")
    assert ask(server, "SELECT 1", session_id="one")[0] == 200


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("SELECT * FROM d.nothing", 404, 60),
        ("SELECT * FROM nothing.t", 404, 81),
        ("SELEC 1", 400, 62),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 501, 48),
        ("INSERT INTO d.nothing FORMAT CSV\n1\n", 404, 60),
    ],
)
def test_errors_carry_clickhouses_codes(server: Warehouse, sql: str, status: int, code: int) -> None:
    got, headers, text = ask(server, sql)
    assert (got, headers["X-ClickHouse-Exception-Code"]) == (status, str(code)), text
    assert text.startswith(f"Code: {code}. DB::Exception: ".encode())
    assert not Path("/tmp/x").exists()


def test_an_unknown_setting_is_refused_by_name(client: Client) -> None:
    with pytest.raises(DatabaseError, match="max_rows_to_rad"):
        client.raw_query("SELECT 1", settings={"max_rows_to_rad": 1})


def test_a_setting_on_the_wire_takes_effect_for_its_request_only(server: Warehouse) -> None:
    assert ask(server, "SELECT getSetting('max_threads')", max_threads="1")[2] == b"1\n"
    assert ask(server, "SELECT 1", no_such_setting="1")[1]["X-ClickHouse-Exception-Code"] == "115"


def test_get_may_not_write(server: Warehouse) -> None:
    assert ask(server, "SELECT 1", method="GET")[2] == b"1\n"
    status, headers, _ = ask(server, "CREATE TABLE d.no (a Int8) ENGINE = Memory", method="GET")
    assert headers["X-ClickHouse-Exception-Code"] == "164" and status >= 400


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-ClickHouse-User": "default"}, {**LOGIN, "X-ClickHouse-Key": "wrong"}, {"Authorization": "Basic !"}],
)
def test_nothing_but_the_configured_users_gets_in(server: Warehouse, headers: dict[str, str]) -> None:
    status, answer, text = ask(server, "SELECT 1", headers=headers)
    assert (status, answer["X-ClickHouse-Exception-Code"]) == (403, "516")
    assert b"wrong" not in text


def test_health_pages_need_no_login(server: Warehouse) -> None:
    for path in ("/ping", "/replicas_status"):
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
        connection.request("GET", path)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"Ok.\n")


def test_metrics_are_prometheus_text(server: Warehouse) -> None:
    server.db.command("CREATE TABLE IF NOT EXISTS d.measured (a Int8) ENGINE = MergeTree ORDER BY a")
    server.db.insert("INSERT INTO d.measured", "CSV", b"1\n2\n")
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    assert 'baretick_warehouse_table_rows{database="d",table="measured"} 2' in text
    assert "ClickHouseProfileEvents_InsertedRows " in text
    for line in text.splitlines():
        assert line.startswith("#") or len(line.rsplit(" ", 1)) == 2
        float("0" if line.startswith("#") else line.rsplit(" ", 1)[1])


@pytest.mark.parametrize("chunked", [False, True])
def test_an_insert_that_is_cut_off_writes_nothing(server: Warehouse, chunked: bool) -> None:
    db = server.db
    db.command("CREATE TABLE IF NOT EXISTS d.cut (a UInt64) ENGINE = MergeTree ORDER BY a")
    body = b"INSERT INTO d.cut FORMAT CSV\n" + b"".join(b"%d\n" % n for n in range(50_000))
    head = "".join(f"{k}: {v}\r\n" for k, v in LOGIN.items())
    size = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body) + 100}"
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as s:
        s.sendall(f"POST / HTTP/1.1\r\nHost: x\r\n{head}{size}\r\n\r\n".encode())
        s.sendall(b"%x\r\n%s\r\n" % (len(body), body) if chunked else body)
        time.sleep(0.3)
    time.sleep(0.5)
    assert db.query("SELECT count() AS n FROM d.cut") == [{"n": 0}]


def test_our_own_client_tells_no_from_no_answer(server: Warehouse) -> None:
    with pytest.raises(WarehouseError) as e:
        server.db.query("SELECT * FROM d.nothing")
    assert e.value.code == 60
    with pytest.raises(WarehouseError, match="516"):
        HttpDatabase(server.url, "baretick", "wrong").query("SELECT 1")
    with pytest.raises(WarehouseUnavailable):
        HttpDatabase(f"http://127.0.0.1:{free_port()}", "a", "b").query("SELECT 1")


def test_values_of_parameters_survive_the_way(server: Warehouse) -> None:
    nasty = "tab\there, 'quotes' \\ and\nlines, {x:String} ☂"
    assert server.db.query("SELECT {v:String} AS v", {"v": nasty}) == [{"v": nasty}]
    assert server.db.query("SELECT {v:Array(String)} AS v", {"v": [nasty, ""]}) == [{"v": [nasty, ""]}]


def test_a_second_process_on_the_same_path_is_refused(server: Warehouse) -> None:
    config = Path(server.log.parent / "warehouse.yaml")
    second = subprocess.run(
        [sys.executable, "-m", "baretick.cli", "warehouse-server", "-c", str(config)],
        env={"PATH": "/usr/bin", "BARETICK_WAREHOUSE_SERVER__USERS__BARETICK": PASSWORD},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 3
    assert "is open in another process (pid" in second.stderr


def test_without_users_it_does_not_start(tmp_path: Path) -> None:
    config = tmp_path / "w.yaml"
    config.write_text(json.dumps({"warehouse_server": {"path": str(tmp_path / "data"), "port": free_port()}}))
    result = subprocess.run(
        [sys.executable, "-m", "baretick.cli", "warehouse-server", "-c", str(config)],
        env={"PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert "warehouse_server.users" in result.stderr


def test_what_was_acknowledged_survives_kill_9_and_sigterm_lets_running_queries_end(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    try:
        warehouse.start()
        warehouse.wait()
        db = warehouse.db
        db.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
        for n in range(5):
            db.insert("INSERT INTO t", "CSV", b"%d\n" % n)
            warehouse.kill()
            warehouse.start()
            warehouse.wait()
        assert db.query("SELECT count() AS n, sum(a) AS s FROM t") == [{"n": 5, "s": 10}]
        answers: list[tuple[int, http.client.HTTPMessage, bytes]] = []
        slow = threading.Thread(target=lambda: answers.append(ask(warehouse, "SELECT sleep(2)")))
        slow.start()
        time.sleep(0.7)
        assert warehouse.terminate() == 0
        slow.join()
        assert answers[0][0] == 200
    finally:
        warehouse.kill()
