"""What every host has before any service: an operator, SSH by key alone, names, a journal with limits."""

import pytest

from tests.host.fleet import Node, inventory, on

pytestmark = pytest.mark.site


def sshd(node: Node, user: str = "ops") -> dict[str, str]:
    """What sshd goes by for `user`, all drop-ins read."""
    text = node.run(f"/usr/sbin/sshd -T -C user={user},host=localhost,addr=127.0.0.1")
    return dict(line.partition(" ")[::2] for line in text.splitlines())


@on("base")
def test_it_is_the_system_that_the_roles_are_written_for(node: Node) -> None:
    assert node.host.system_info.distribution == "debian"
    assert node.host.system_info.release.startswith("13")


@on("base")
def test_the_operator_may_become_root_and_has_no_password(node: Node) -> None:
    user = node.host.user("ops")
    assert {"sudo", "adm", "systemd-journal"} <= set(user.groups)
    assert user.password in ("*", "!")
    assert node.run("runuser -u ops -- sudo -n id -un").strip() == "root"


@on("base")
def test_the_operator_has_keys_that_nobody_else_may_change(node: Node) -> None:
    keys = node.host.file("/home/ops/.ssh/authorized_keys")
    assert (keys.user, keys.group, keys.mode) == ("ops", "ops", 0o600)
    assert keys.content_string.startswith(("ssh-", "ecdsa-", "sk-"))


@on("base")
def test_ssh_takes_keys_and_nothing_else(node: Node) -> None:
    settings = sshd(node)
    assert settings["passwordauthentication"] == "no"
    assert settings["kbdinteractiveauthentication"] == "no"
    assert settings["permitemptypasswords"] == "no"
    assert settings["authenticationmethods"] == "publickey"
    assert settings["permitrootlogin"] in ("no", "without-password")


@on("base")
def test_ssh_forwards_nothing_into_the_host(node: Node) -> None:
    settings = sshd(node)
    assert settings["allowagentforwarding"] == "no"
    assert settings["x11forwarding"] == "no"
    assert settings["allowtcpforwarding"] in ("no", "local")


@on("base")
@pytest.mark.parametrize("kind", ["kexalgorithms", "ciphers", "macs", "pubkeyacceptedalgorithms"])
def test_ssh_speaks_modern_algorithms_only(node: Node, kind: str) -> None:
    old = ("sha1", "cbc", "3des", "md5", "diffie-hellman-group", "ecdh-sha2-nistp", "ssh-dss", "umac-64")
    offered = sshd(node)[kind].split(",")
    assert offered
    assert [name for name in offered if any(part in name for part in old)] == []


@on("base")
def test_no_user_but_those_declared_may_log_in(node: Node) -> None:
    lines = node.run("/usr/sbin/sshd -T -C user=ops,host=localhost,addr=127.0.0.1").splitlines()
    assert {line.split()[1] for line in lines if line.startswith("allowusers ")} <= {"ops", "root"}


@on("base")
def test_every_host_of_the_site_has_its_private_address_by_name(node: Node) -> None:
    for name in inventory()["_meta"]["hostvars"]:
        assert node.run(f"getent ahostsv4 {name}").split()[0] == Node(name).ip


@on("base")
def test_the_journal_is_kept_and_limited(node: Node) -> None:
    settings = node.run("systemd-analyze cat-config systemd/journald.conf").splitlines()
    assert "Storage=persistent" in settings
    assert any(line.startswith("SystemMaxUse=") for line in settings)
    assert node.host.file("/var/log/journal").is_directory


@on("base")
def test_services_start_with_the_limits_that_were_set(node: Node) -> None:
    shown = node.run("systemctl show -p DefaultLimitNOFILE -p DefaultLimitNOFILESoft -p DefaultLimitCORESoft")
    facts = dict(line.split("=", 1) for line in shown.splitlines())
    assert facts["DefaultLimitNOFILESoft"] == "65536"
    assert int(facts["DefaultLimitNOFILE"]) >= 65536
    assert facts["DefaultLimitCORESoft"] == "0"


@on("base")
def test_the_clock_is_utc_and_kept_where_the_host_may_keep_it(node: Node) -> None:
    assert node.run("date +%Z").strip() == "UTC"
    capabilities = int(node.run("sed -n 's/^CapBnd:\\s*//p' /proc/1/status").strip(), 16)
    if not capabilities >> 25 & 1:
        # A container without CAP_SYS_TIME: its clock is that of the machine below, and nothing pretends to keep it.
        assert not node.host.package("chrony").is_installed
        return
    node.assert_running("chrony")
    assert "Leap status     : Normal" in node.run("chronyc -n tracking")


@on("base")
def test_no_unit_has_failed(node: Node) -> None:
    assert node.run("systemctl list-units --state=failed --plain --no-legend").strip() == ""
