"""The emulator's memory on disk: one JSON document, replaced atomically, read back whole at the next start."""

import os
from pathlib import Path

from pydantic import ValidationError

from infra.emulator.errors import EmulatorError
from infra.emulator.model import Action, Database

# Finished actions beyond this many are forgotten, oldest first, as Hetzner forgets them after a while.
ACTIONS_KEPT = 500


class Store:
    def __init__(self, path: Path | None) -> None:
        """A store at `path`, or one that lives in memory only (None)."""
        self.path = path
        self.db = self._load()

    def _load(self) -> Database:
        if self.path is None or not self.path.exists():
            return Database()
        try:
            return Database.model_validate_json(self.path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            raise EmulatorError(
                f"the emulator's state {self.path} cannot be read: {first['msg']} at "
                f"{'.'.join(map(str, first['loc']))}; restore the file, or remove it together with the machines "
                "beside it to begin anew"
            ) from error

    def new_id(self) -> int:
        self.db.next_id += 1
        return self.db.next_id

    def save(self) -> None:
        self._forget_old_actions()
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.path.with_suffix(".new")
        # 0600: user_data holds the hosts' private keys.
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self.db.model_dump_json(indent=1).encode())
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _forget_old_actions(self) -> None:
        actions = self.db.actions
        for extra in list(actions)[: max(0, len(actions) - ACTIONS_KEPT)]:
            if _is_over(actions[extra]):
                del actions[extra]


def _is_over(action: Action) -> bool:
    return action.status != "running"
