"""Who may ask the emulated webservice: from the environment, else a pair made once and kept in a file of its own."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from infra.emulator.errors import EmulatorError

USER, PASSWORD = "EMULATOR_ROBOT_USER", "EMULATOR_ROBOT_PASSWORD"


def settle(file: Path, environ: Mapping[str, str] = os.environ) -> bool:
    """Have the pair in `file` (user and password, a line each; 0600); whether it is another than before."""
    user, password = environ.get(USER), environ.get(PASSWORD)
    if bool(user) != bool(password):
        raise EmulatorError(f"{USER} and {PASSWORD} belong together: set both, or neither to have a pair made")
    if not user or not password:
        if file.exists():
            return False
        user, password = "#ws+emulated", secrets.token_urlsafe(18)
    text = f"{user}\n{password}\n"
    if file.exists() and file.read_text() == text:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".new")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    scratch.replace(file)
    return True


def read(file: Path) -> tuple[str, str]:
    lines = file.read_text().splitlines()
    if len(lines) != 2 or not all(lines):
        raise EmulatorError(f"{file} does not hold a user and a password, a line each: remove it and start again")
    return lines[0], lines[1]
