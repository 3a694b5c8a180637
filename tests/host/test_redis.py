"""Valkey or Redis: with a password, within its memory, keeping nothing that was not declared."""

import pytest

from tests.host.fleet import Node, on

pytestmark = pytest.mark.site


def flavor(node: Node) -> str:
    return "valkey" if node.host.file("/usr/bin/valkey-server").exists else "redis"


def ask(node: Node, *commands: str, login: bool = True) -> list[str]:
    """Answers, asked on the host; the password goes in on standard input and stays off command lines."""
    lines = [f"AUTH {node.vars['site_secrets']['redis_password']}"] * login + list(commands)
    text = "\n".join(lines)
    return node.run(f"{flavor(node)}-cli -h {node.ip} <<'E'\n{text}\nE").split("\n")


@on("redis")
def test_it_runs_and_starts_at_boot(node: Node) -> None:
    node.assert_running(f"{flavor(node)}-server")


@on("redis")
def test_it_listens_on_the_private_address_alone(node: Node) -> None:
    assert node.listeners(6379) == {node.ip}


@on("redis")
def test_it_runs_unprivileged_in_a_sandbox(node: Node) -> None:
    facts = node.sandbox(f"{flavor(node)}-server")
    assert facts["User"] == flavor(node)
    assert (facts["ProtectSystem"], facts["NoNewPrivileges"]) == ("strict", "yes")


@on("redis")
def test_a_value_comes_back(node: Node) -> None:
    answers = ask(node, "SET host-test 42 EX 5", "GET host-test", "DEL host-test")
    assert answers[:4] == ["OK", "OK", "42", "1"]


@on("redis")
def test_it_answers_nobody_without_the_password(node: Node) -> None:
    assert ask(node, "GET host-test", login=False)[0].startswith("NOAUTH")


@on("redis")
def test_its_memory_is_limited_and_what_gives_way_is_declared(node: Node) -> None:
    answers = ask(node, "CONFIG GET maxmemory", "CONFIG GET maxmemory-policy")
    assert int(answers[2]) > 0
    assert answers[4] != "noeviction"


@on("redis")
def test_nothing_is_written_to_disk(node: Node) -> None:
    answers = ask(node, "CONFIG GET appendonly", "CONFIG GET save")
    assert answers[1:5] == ["appendonly", "no", "save", ""]


@on("redis")
def test_its_secrets_are_for_its_user_alone(node: Node) -> None:
    name = flavor(node)
    file = node.host.file(f"/etc/{name}/{name}.conf")
    assert (file.user, file.group, file.mode) == (name, name, 0o640)
    password = node.vars["site_secrets"]["redis_password"]
    assert password in file.content_string
    assert password not in node.run("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true")
