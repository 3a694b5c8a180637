"""How much of each hourly limit is used: counted before a request is sent, on disk, for every run of this user here."""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.robot.endpoints import BUCKETS, Bucket

# Hetzner locks an address at the third failed login within this time.
LOGIN_WINDOW = 600
LOGINS_MOST = 2
_LOGINS = "failed logins"


@dataclass(frozen=True)
class Used:
    bucket: Bucket
    used: int
    # Seconds until another request may go; 0 where one may now.
    wait: float

    @property
    def left(self) -> int:
        return max(0, self.bucket.limit - self.used)


def state_home() -> Path:
    """Where the counts of all runs are, whichever clone they run from."""
    chosen = os.environ.get("BARETICK_ROBOT_STATE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".local" / "state") / "baretick" / "robot"


def account_dir(endpoint: str, user: str) -> Path:
    """Limits are a user's: each has a folder of its own, named without naming the user."""
    return state_home() / hashlib.sha256(f"{endpoint}\n{user}".encode()).hexdigest()[:16]


class Ledger:
    """The counts of one user. Each change is under a lock and lands whole: a killed run loses none that it made."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._clock = clock

    def reserve(self, bucket: Bucket) -> float:
        """Count one request and return 0, or count none and return the seconds until one may go."""
        with self._open(bucket.name) as page:
            now = self._clock()
            wait = self._wait(bucket, page, now)
            if wait == 0:
                page["used"] = [*self._recent(page, now, bucket.window), now]
            return wait

    def refused(self, bucket: Bucket, interval: float) -> None:
        """Robot says that the limit is used up, by others than us: nothing more before the interval is over."""
        with self._open(bucket.name) as page:
            page["until"] = self._clock() + interval

    def show(self) -> list[Used]:
        now = self._clock()
        pages = ((bucket, self._read(bucket.name)) for bucket in BUCKETS)
        return [Used(b, len(self._recent(p, now, b.window)), self._wait(b, p, now)) for b, p in pages]

    def login_failed(self) -> None:
        with self._open(_LOGINS) as page:
            now = self._clock()
            page["used"] = [*self._recent(page, now, LOGIN_WINDOW), now]

    def login_worked(self) -> None:
        with self._open(_LOGINS) as page:
            page["used"] = []

    def login_wait(self) -> float:
        """Seconds until another login may be tried without the risk of a lock; 0 where one may now."""
        now = self._clock()
        recent = self._recent(self._read(_LOGINS), now, LOGIN_WINDOW)
        return 0.0 if len(recent) < LOGINS_MOST else max(0.0, recent[0] + LOGIN_WINDOW - now)

    @contextmanager
    def login_lock(self) -> Iterator[None]:
        """One first login at a time, so that runs side by side do not fail three times together."""
        with self._lock("login"):
            yield

    def _wait(self, bucket: Bucket, page: dict[str, object], now: float) -> float:
        recent = self._recent(page, now, bucket.window)
        until = page.get("until")
        told = max(0.0, until - now) if isinstance(until, int | float) else 0.0
        own = recent[-bucket.limit] + bucket.window - now if len(recent) >= bucket.limit else 0.0
        return max(told, own, 0.0)

    @staticmethod
    def _recent(page: dict[str, object], now: float, window: int) -> list[float]:
        used = page.get("used")
        # A clock that was set back must not make requests disappear: what seems to come counts as well.
        return [at for at in used if at > now - window] if isinstance(used, list) else []

    def _path(self, name: str) -> Path:
        return self.folder / f"{name.replace(' ', '-')}.json"

    def _read(self, name: str) -> dict[str, object]:
        try:
            page = json.loads(self._path(name).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return page if isinstance(page, dict) else {}

    @contextmanager
    def _open(self, name: str) -> Iterator[dict[str, object]]:
        with self._lock(name):
            page = self._read(name)
            before = json.dumps(page)
            yield page
            after = json.dumps(page)
            if after != before:
                scratch = self._path(name).with_suffix(".new")
                scratch.write_text(after)
                scratch.replace(self._path(name))

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / f"{name.replace(' ', '-')}.lock").open("w") as lock:
            # The kernel lets go of it however this process ends.
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
