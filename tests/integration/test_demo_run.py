"""The demo as a newcomer runs it: no root, no hosts, no captures; a table, a plot, and books that balance."""

import os
import re
import subprocess
import sys
from pathlib import Path

CONFIG = "standin: {synthetic_seconds: 8, synthetic_seed: 7}\n"


def run_demo(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    config = folder / "demo.yaml"
    config.write_text(CONFIG)
    env = {k: v for k, v in os.environ.items() if not k.startswith("BARETICK_")}
    return subprocess.run(
        [sys.executable, "-m", "baretick.cli", "demo", "-c", str(config), "--out", str(folder / "out"), *args],
        env={**env, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_synthetic_session_ends_with_a_table_and_a_plot(tmp_path: Path) -> None:
    result = run_demo(tmp_path, "--seconds", "8")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "SYNTHETIC, made up from seed 7" in result.stdout
    rows = re.search(r"hft_data\.raw_ticks\s+([\d,]+)", result.stdout)
    assert rows is not None and int(rows[1].replace(",", "")) > 1000
    assert result.stdout.count("reconcile ok") == 5 and "FAILED" not in result.stdout
    assert "session served = warehouse" in result.stdout
    picture = tmp_path / "out" / "baretick-demo.png"
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and picture.stat().st_size > 50_000
    again = run_demo(tmp_path, "--seconds", "8")
    assert again.returncode == 0, "a second run replaces the first one's warehouse"


def test_without_a_venue_to_reach_it_says_so(tmp_path: Path) -> None:
    config = tmp_path / "live.yaml"
    venue = "{name: okx, kind: okx, ws_url: 'ws://127.0.0.1:9/x', rest_url: 'http://127.0.0.1:9', symbols: [BTC-USDT]}"
    config.write_text(f"venues: [{venue}]\n")
    result = subprocess.run(
        [sys.executable, "-m", "baretick.cli", "demo", "--live", "-c", str(config), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1
    assert "no market data within" in result.stdout and "ws://127.0.0.1:9/x" in result.stdout
