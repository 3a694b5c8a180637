"""Configuration: typed, refused with the path of what is wrong, overridden by the environment."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from baretick.cli import app
from baretick.config import ConfigError, load


def write(folder: Path, text: str) -> Path:
    path = folder / "engine.yaml"
    path.write_text(text)
    return path


def test_a_typo_in_a_key_is_named_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"kafka\.bootstrap_server: Extra inputs"):
        load(write(tmp_path, "kafka: {bootstrap_server: x}"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("venues: [{name: okx, kind: kraken, ws_url: a, rest_url: b, symbols: [X]}]", r"venues\.0\.kind"),
        ("venues: [{name: okx, kind: okx, ws_url: a, rest_url: b, symbols: []}]", r"venues\.0\.symbols"),
        ("risk: {max_order_notional: -1}", r"risk\.max_order_notional"),
        ("- a list", "expected a mapping"),
        ("a: [", "is not YAML"),
    ],
)
def test_bad_values_are_refused_before_anything_starts(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(write(tmp_path, text))


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARETICK_CLICKHOUSE__PASSWORD", "from the environment")
    config = load(write(tmp_path, "clickhouse: {password: from the file, user: ingest}"))
    assert config.clickhouse.password.get_secret_value() == "from the environment"
    assert config.clickhouse.user == "ingest"
    assert "from the environment" not in repr(config)


def test_the_command_says_what_is_wrong_and_ends_with_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["engine", "-c", str(tmp_path / "none.yaml")])
    assert result.exit_code == 2
    assert "cannot read" in result.output
    assert "Traceback" not in result.output


def test_help_lists_every_process_and_verb() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    for verb in ("engine", "ingest", "standin", "warehouse-server", "migrate", "seed", "demo"):
        assert verb in shown
