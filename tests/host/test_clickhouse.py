"""The warehouse: answers its users over ClickHouse's HTTP interface, and nobody else."""

import base64
from urllib.parse import quote

import pytest

from tests.host.fleet import SANDBOX, Node, on

pytestmark = pytest.mark.site
UNIT = "clickhouse"


def ask(node: Node, sql: str, user: str = "baretick", password: str | None = None) -> str:
    """Status and answer, asked on the host; the password goes in on standard input and stays off command lines."""
    secret = node.vars["site_secrets"]["clickhouse_password"] if password is None else password
    code = (
        "import base64, sys, urllib.error, urllib.request\n"
        "url, user, key = (base64.b64decode(line).decode() for line in sys.stdin.read().split())\n"
        "r = urllib.request.Request(url, headers={'X-ClickHouse-User': user, 'X-ClickHouse-Key': key})\n"
        "try: a = urllib.request.urlopen(r, timeout=30)\n"
        "except urllib.error.HTTPError as e: a = e\n"
        "print(a.status, a.read().decode().strip())"
    )
    url = f"http://{node.ip}:8123/?query={quote(sql)}"
    lines = "\n".join(base64.b64encode(part.encode()).decode() or "Cg==" for part in (url, user, secret))
    return node.run(f"python3 -c \"$(echo {base64.b64encode(code.encode()).decode()} | base64 -d)\" <<'E'\n{lines}\nE")


@on("clickhouse")
def test_it_runs_and_starts_at_boot(node: Node) -> None:
    node.assert_running(UNIT)


@on("clickhouse")
def test_it_listens_on_the_private_address_alone(node: Node) -> None:
    assert node.listeners(8123) == {node.ip}


@on("clickhouse")
def test_it_runs_unprivileged_in_a_sandbox(node: Node) -> None:
    facts = node.sandbox(UNIT)
    assert facts["User"] == "clickhouse"
    assert {name: facts[name] for name in SANDBOX} == SANDBOX


@on("clickhouse")
def test_it_is_alive(node: Node) -> None:
    status, body = node.get(8123, "/ping")
    assert (status, body.strip()) == (200, "Ok.")


@on("clickhouse")
def test_its_user_may_ask(node: Node) -> None:
    assert ask(node, "SELECT 6 * 7").split() == ["200", "42"]


@on("clickhouse")
@pytest.mark.parametrize(("user", "password"), [("default", " "), ("baretick", "wrong"), ("nobody", "wrong")])
def test_nobody_else_may(node: Node, user: str, password: str) -> None:
    answer = ask(node, "SELECT 1", user, password)
    assert answer.split()[0] in ("401", "403")
    assert "Code: 516" in answer


@on("clickhouse")
def test_its_secrets_are_for_its_user_alone(node: Node) -> None:
    file = node.host.file("/etc/baretick/clickhouse.yaml")
    assert (file.user, file.group, file.mode) == ("root", "clickhouse", 0o640)
    password = node.vars["site_secrets"]["clickhouse_password"]
    assert password in file.content_string
    assert password not in node.run("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true")


@on("clickhouse")
def test_its_data_is_for_its_user_alone(node: Node) -> None:
    folder = node.host.file("/var/lib/clickhouse")
    assert (folder.user, folder.group, folder.mode) == ("clickhouse", "clickhouse", 0o750)
