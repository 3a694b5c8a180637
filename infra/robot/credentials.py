"""Who asks the webservice: from the environment, or from a file that nobody else can read. Never from arguments."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.robot.errors import RobotError

ENDPOINT = "https://robot-ws.your-server.de"
USER, PASSWORD, FILE, URL = "ROBOT_USER", "ROBOT_PASSWORD", "ROBOT_LOGIN_FILE", "ROBOT_ENDPOINT"
DEFAULT_FILE = "~/.config/baretick/robot.login"


class NoCredentials(RobotError):
    """There is no user and password to ask with; the message says where they are looked for."""


@dataclass(frozen=True)
class RobotLogin:
    endpoint: str
    user: str
    password: str = field(repr=False)


def robot_login(environ: Mapping[str, str] = os.environ) -> RobotLogin:
    """ROBOT_USER and ROBOT_PASSWORD, else the file of ROBOT_LOGIN_FILE; ROBOT_ENDPOINT for an emulator."""
    endpoint = (environ.get(URL) or ENDPOINT).rstrip("/")
    user, password = environ.get(USER, ""), environ.get(PASSWORD, "")
    if user and password:
        return RobotLogin(endpoint, user, password)
    if user or password:
        given, lacking = (USER, PASSWORD) if user else (PASSWORD, USER)
        raise NoCredentials("login", f"{given} is set and {lacking} is not: set both, or neither to use a file")
    path = Path(environ.get(FILE) or DEFAULT_FILE).expanduser()
    return RobotLogin(endpoint, *_from(path))


def _from(path: Path) -> tuple[str, str]:
    try:
        mode = path.stat().st_mode
        lines = path.read_text().splitlines()
    except OSError as error:
        raise NoCredentials(
            "login",
            f"no user of the webservice: {USER} and {PASSWORD} are not set and {path} cannot be read "
            f"({error.strerror}). Put user and password there, a line each, and make it yours alone (chmod 600)",
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise NoCredentials("login", f"{path} can be read by others (mode {mode & 0o777:o}): chmod 600 {path}")
    if len(lines) < 2 or not lines[0] or not lines[1]:
        raise NoCredentials("login", f"{path} must hold the user on its first line and the password on its second")
    return lines[0], lines[1]
