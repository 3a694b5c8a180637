"""The verbs' own parts: steps that show progress and the log's tail, the service list, the metrics reader."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.verbs import probe
from infra.verbs.memory import PeakMemory, available_kib
from infra.verbs.services import SERVICES, by_name
from infra.verbs.site import Site
from infra.verbs.steps import StepFailed, Steps

ROOT = Path(__file__).resolve().parents[2]


def test_a_step_says_which_of_how_many_and_shows_only_the_lines_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = Steps("up", 2, tmp_path)
    output = steps.command("say two lines", ["printf", "changed: one\nok: two\n"], show="^changed")
    shown = capsys.readouterr().out
    assert "[1/2] say two lines" in shown and "changed: one" in shown and "ok: two" not in shown
    assert output == "changed: one\nok: two\n"
    assert (tmp_path / "say-two-lines.log").read_text() == output


def test_a_failed_step_ends_with_the_tail_of_its_log_and_where_it_is(tmp_path: Path) -> None:
    steps = Steps("up", 1, tmp_path)
    with pytest.raises(StepFailed) as failure:
        steps.command("break", ["sh", "-c", "echo the reason; exit 3"])
    text = str(failure.value)
    assert "the reason" in text and "status 3" in text and str(tmp_path / "break.log") in text


def test_ctrl_c_waits_for_the_child_to_put_its_state_in_order(tmp_path: Path) -> None:
    marker = tmp_path / "tidied"
    child = f"trap 'sleep 0.3; touch {marker}; exit 1' INT; echo ready; while :; do sleep 0.1; done"
    program = (
        # Whoever runs the tests in the background ignores it, and so would all below.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys; from pathlib import Path; from infra.verbs.steps import Steps\n"
        f"Steps('up', 1, Path({str(tmp_path)!r})).command('wait', ['bash', '-c', {child!r}], show='ready')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    while "ready" not in process.stdout.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    process.wait(10)
    assert marker.exists(), "the child was cut off before it had tidied up"


def test_services_are_found_by_group_unit_or_short_name() -> None:
    assert by_name("engine") is by_name("baretick-engine")
    with pytest.raises(KeyError, match=r"there are: .*kafka"):
        by_name("kafak")


def test_no_two_services_of_a_host_share_a_port() -> None:
    ports = [s.port for s in SERVICES] + [p for s in SERVICES for p in s.forwards if p != s.port]
    assert len(ports) == len(set(ports))


def test_metrics_are_read_with_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    page = b'# HELP x y\nx_total{venue="okx",symbol="BTC-USDT"} 3.0\nup 1\nbroken line here\n'
    monkeypatch.setattr(probe, "get", lambda *_a, **_k: page)
    assert probe.metrics(Site("local"), "engine", 8080) == [
        ("x_total", {"venue": "okx", "symbol": "BTC-USDT"}, 3.0),
        ("up", {}, 1.0),
    ]


def test_peak_memory_counts_what_a_child_takes() -> None:
    assert available_kib() > 0
    with PeakMemory() as memory:
        block = bytearray(os.urandom(1)) * (512 * 2**20)
        time.sleep(2.5)
        del block
    assert memory.peak_gib > 0.3
