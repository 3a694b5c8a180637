"""Logins on a server being installed: what is run there is valid shell, what comes back is read as what it means."""

import subprocess
from pathlib import Path

import pytest

from infra.robot.install import scripts
from infra.robot.install.openssh import CommandFailed, OpenSsh, read_found, read_hardware, read_progress
from infra.robot.install.ports import Denied, InstallJob, Silent, WrongKey
from tests.robot_rig import KEY

FACE = "hostname\trescue\nboot_id\tabc\nrelease\tDebian GNU/Linux 12 (bookworm)\ninstall_id\t\n"
SCRIPTS = {
    "face": scripts.FACE,
    "reboot": scripts.REBOOT,
    "hardware": scripts.HARDWARE,
    "health": scripts.health(["nvme0n1", "sda"]),
    "found": scripts.FOUND,
    "wipe": scripts.wipe(["nvme0n1", "nvme1n1"]),
    "begin": scripts.begin("0123456789abcdef", "DRIVE1 /dev/sda\n", KEY),
    "post-install": scripts.post_install("0123456789abcdef", KEY + " it's me"),
    "progress": scripts.progress("0123456789abcdef"),
    "configure": scripts.configure({"/etc/netplan/60-vswitch.yaml": "network:\n"}),
    "crosses": scripts.crosses("10.77.2.1", 1400),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_is_run_is_shell_without_faults(name: str, tmp_path: Path) -> None:
    file = tmp_path / "script"
    text = SCRIPTS[name]
    file.write_text(text if text.startswith("#!") else "#!/bin/sh\n" + text)
    checked = subprocess.run(
        ["shellcheck", "-S", "warning", "-e", "SC1090,SC1091,SC3043,SC2181", str(file)], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout


class Host:
    """Plays ssh: says what it is told, and keeps what it was asked."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[list[str], str]] = []

    def __call__(self, argv: list[str], script: str, seconds: float):
        self.asked.append((argv, script))
        code, out, err = self.answers.pop(0)
        known = Path(next(a for a in argv if a.startswith("UserKnownHostsFile=")).partition("=")[2])
        if "StrictHostKeyChecking=accept-new" in argv:
            known.write_text("host ssh-ed25519 AAAAnew\n")
        return subprocess.CompletedProcess(argv, code, out, err)


def session(*answers, pins=()):
    host = Host((0, FACE, ""), *answers)
    return host, OpenSsh(Path("/id"), run=host)("203.0.113.2", pins)


def test_an_unpinned_login_reports_the_key_that_it_saw() -> None:
    host, login = session()
    assert (login.face.system, login.face.boot_id, login.face.install_id) == ("rescue", "abc", None)
    assert login.face.host_keys == ("ssh-ed25519 AAAAnew",)
    assert host.asked[0][0][:3] == ["ssh", "-F", "/dev/null"]


def test_a_pinned_login_takes_no_other_key() -> None:
    host, login = session(pins=["ssh-ed25519 AAAApin comment"])
    assert "StrictHostKeyChecking=yes" in host.asked[0][0]
    assert login.face.host_keys == ("ssh-ed25519 AAAApin",)


@pytest.mark.parametrize(
    ("code", "said", "kind"),
    [
        (255, "ssh: connect to host 203.0.113.2 port 22: Connection refused", Silent),
        (255, "Connection timed out during banner exchange", Silent),
        (255, "root@203.0.113.2: Permission denied (publickey).", Denied),
        (
            255,
            "No ED25519 host key is known for host and you have requested strict checking.\nHost key "
            "verification failed.",
            WrongKey,
        ),
        (1, "sh: 3: nonsense: not found", CommandFailed),
    ],
)
def test_what_ssh_says_is_told_apart(code: int, said: str, kind: type) -> None:
    with pytest.raises(kind):
        OpenSsh(Path("/id"), run=Host((code, "", said)))("203.0.113.2", ["ssh-ed25519 AAAA"])


def test_a_reboot_that_cuts_its_own_line_is_no_error() -> None:
    _, login = session((255, "", "Connection closed by remote host"))
    login.reboot()


def test_hardware_is_read_with_every_stable_id() -> None:
    text = (
        "cpus\t12\nmemory\t6.71e+10\nnic\tenp5s0\ndriver\tigb\nuefi\t1\n"
        "disk\tnvme0n1\t512110190592\t0\tSAMSUNG MZVL2512\ndisk\tsda\t22000969973760\t1\tTOSHIBA\n"
        "id\tnvme0n1\tnvme-SAMSUNG_X\nid\tnvme0n1\teui.0025\nid\tsda\twwn-0x5000\nid\tsda1\twwn-0x5000-part1\n"
    )
    found = read_hardware(text)
    assert (found.cpus, found.nic, found.nic_driver, found.uefi) == (12, "enp5s0", "igb", True)
    assert [(d.name, d.ids, d.rotational) for d in found.disks] == [
        ("nvme0n1", ("eui.0025", "nvme-SAMSUNG_X"), False),
        ("sda", ("wwn-0x5000",), True),
    ]


def test_systems_on_the_disks_are_read_with_their_keys() -> None:
    text = (
        "found\tDebian/Linux 13 (data-1)\tnvme0n1,nvme1n1\t0123\tssh-ed25519 AAAA,ssh-rsa BBBB\nfound\tswap\tsda\t\t\n"
    )
    first, second = read_found(text)
    assert first.disks == ("nvme0n1", "nvme1n1") and first.host_keys == ("ssh-ed25519 AAAA", "ssh-rsa BBBB")
    assert (second.what, second.install_id, second.host_keys) == ("swap", None, ())


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("state\tnone\n", "none"),
        ("state\trunning\n", "running"),
        ("exit\t0\nline\tBARETICK_INSTALLED 0123\nline\tBARETICK_HOST_KEY ssh-ed25519 AAAA\n", "done"),
        ("exit\t0\nlog\tno marker\n", "failed"),
        ("exit\t0\nline\tBARETICK_INSTALLED 9999\n", "failed"),
        ("exit\t1\nline\tBARETICK_INSTALLED 0123\nlog\tgrub-install: error\n", "failed"),
        ("log\tit died\n", "failed"),
    ],
)
def test_only_the_marker_and_a_clean_exit_are_done(text: str, state: str) -> None:
    progress = read_progress(text, "0123")
    assert progress.state == state
    assert progress.host_keys == (("ssh-ed25519 AAAA",) if state == "done" else ())


def test_the_hardware_script_runs_here() -> None:
    ran = subprocess.run(["sh", "-s"], input=scripts.HARDWARE, capture_output=True, text=True, check=True)
    assert read_hardware(ran.stdout).cpus >= 1


def test_an_installation_is_begun_once_and_its_end_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "installimage"
    fake.write_text(
        f'#!/bin/sh\necho run >> {tmp_path}/runs\necho "{scripts.DONE} abc"\necho "{scripts.HOST_KEY} t k"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setattr(scripts, "WORK", str(tmp_path / "work"))
    monkeypatch.setattr(scripts, "INSTALLIMAGE", str(fake))

    def run(argv, script, seconds):
        return subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, timeout=30)

    login = OpenSsh(Path("/id"), run=run)("203.0.113.2", ["t k"])
    assert login.progress("abc").state == "none"
    for _ in range(3):
        login.begin_install(InstallJob("abc", "DRIVE1 /dev/sda\n", "data-1", KEY))
    for _ in range(200):
        progress = login.progress("abc")
        if progress.state != "running":
            break
    assert (progress.state, progress.host_keys) == ("done", ("t k",))
    assert (tmp_path / "runs").read_text() == "run\n"
    assert (tmp_path / "work-abc" / "autosetup").read_text() == "DRIVE1 /dev/sda\n"
