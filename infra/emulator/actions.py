"""Actions: everything that takes time. Started at once, answered as running, polled until success or error."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from infra.emulator.errors import ApiError, EmulatorError
from infra.emulator.faults import Faults
from infra.emulator.model import Action, ResourceRef, now
from infra.emulator.store import Store

log = logging.getLogger(__name__)

Ref = tuple[str, int]
Work = Callable[[], Awaitable[None]]


class Actions:
    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults
        self._tasks: set[asyncio.Task[None]] = set()

    def done(self, command: str, *resources: Ref) -> Action:
        """An action that is over before the answer is sent."""
        action = self._new(command, resources)
        if not self._stuck(action):
            self._finish(action)
        return action

    def begin(self, command: str, *resources: Ref, work: Work) -> Action:
        """An action that goes on after the answer; its outcome is what `work` comes to."""
        action = self._new(command, resources)
        if self._stuck(action):
            return action
        task = asyncio.get_running_loop().create_task(self._drive(action, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return action

    def running(self, kind: str, ident: int) -> Action | None:
        """The action that has the resource locked, if one has."""
        return next((a for a in self.of(kind, ident) if a.status == "running"), None)

    def require_free(self, kind: str, ident: int) -> None:
        if action := self.running(kind, ident):
            raise ApiError("locked", f"{kind} {ident} is locked: action {action.command} ({action.id}) is running")

    def of(self, kind: str, ident: int | None = None) -> list[Action]:
        return [
            action
            for action in self._store.db.actions.values()
            if any(r.type == kind and ident in (None, r.id) for r in action.resources)
        ]

    async def close(self) -> None:
        """Leave running actions where they are; the next start takes them up."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def settle(self, action: Action, error: str | None = None) -> None:
        """Close an action that an earlier run of the emulator left running."""
        self._finish(action, error)

    def _new(self, command: str, resources: Iterable[Ref]) -> Action:
        action = Action(
            id=self._store.new_id(), command=command, resources=[ResourceRef(id=i, type=kind) for kind, i in resources]
        )
        self._store.db.actions[action.id] = action
        return action

    def _stuck(self, action: Action) -> bool:
        """Whether a fault keeps it running until the emulator starts anew."""
        return any(self._faults.strikes("stuck-action", r.id, action.command) for r in action.resources[:1])

    async def _drive(self, action: Action, work: Work) -> None:
        action.progress = 10
        try:
            await work()
        except (EmulatorError, ApiError) as error:
            log.error("action %s %s: %s", action.id, action.command, error)
            self._finish(action, str(error))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # an action must never stay running for ever
            log.exception("action %s %s", action.id, action.command)
            self._finish(action, f"{type(error).__name__}: {error}")
        else:
            self._finish(action)
        self._store.save()

    @staticmethod
    def _finish(action: Action, error: str | None = None) -> None:
        action.status = "error" if error else "success"
        action.error = {"code": "action_failed", "message": error} if error else None
        action.progress = 100
        action.finished = now()
