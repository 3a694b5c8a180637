"""A role's defaults, argument_specs and README say the same: what it takes, of which type, and what holds unsaid."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
NAMES = sorted(p.parent.parent.name for p in ROLES.glob("*/tasks/main.yml"))


def options(role: str) -> dict[str, Any]:
    specs = yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text())
    found: dict[str, Any] = specs["argument_specs"]["main"]["options"]
    return found


def defaults(role: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text())
    return found


@pytest.mark.parametrize("role", NAMES)
def test_every_default_is_declared_with_the_same_value(role: str) -> None:
    declared = {name: spec["default"] for name, spec in options(role).items() if "default" in spec}
    assert declared == defaults(role)


@pytest.mark.parametrize("role", NAMES)
def test_a_variable_without_default_is_required(role: str) -> None:
    bare = [name for name, spec in options(role).items() if "default" not in spec and not spec.get("required")]
    assert bare == []


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_carries_the_roles_name_and_a_description(role: str) -> None:
    for name, spec in options(role).items():
        assert name.startswith(f"{role}_"), name
        assert spec["description"], name


@pytest.mark.parametrize("role", NAMES)
def test_the_readme_names_every_variable(role: str) -> None:
    readme = (ROLES / role / "README.md").read_text()
    assert [name for name in options(role) if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("role", NAMES)
def test_secrets_are_not_logged_by_validation(role: str) -> None:
    secrets = [n for n in options(role) if n.endswith(("_password", "_secret"))]
    assert [n for n in secrets if not options(role)[n].get("no_log")] == []
