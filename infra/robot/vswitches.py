"""Calls of /vswitch, and the wait for what they begin."""

from collections.abc import Callable, Sequence

from infra.robot.errors import InProcess, RobotError
from infra.robot.models import VSwitch, VSwitchSummary
from infra.robot.reading import Calls, validate

VLANS = range(4000, 4092)
SERVERS_MOST = 100
# One poller for all members of a vSwitch: 360 calls an hour of the 500 that there are.
POLL_SECONDS = 10.0
POLLS_MOST = 100


class NotReady(RobotError):
    """Members of a vSwitch that did not become ready in time."""


class VSwitches(Calls):
    """vSwitches come bare, where everything else is wrapped in its type's name."""

    def every(self) -> list[VSwitchSummary]:
        return self.listed("/vswitch", "vswitch", VSwitchSummary)

    def get(self, ident: int) -> VSwitch:
        return validate(f"GET /vswitch/{ident}", self.call("GET", f"/vswitch/{ident}"), VSwitch)

    def find(self, name: str, vlan: int) -> VSwitch | None:
        """Name, VLAN and not cancelled make a vSwitch; raises where several are that."""
        found = [v for v in self.every() if (v.name, v.vlan, v.cancelled) == (name, vlan, False)]
        if len(found) > 1:
            idents = ", ".join(str(v.id) for v in found)
            raise RobotError(
                "GET /vswitch", f"vSwitches {idents} are all {name!r} on VLAN {vlan}: cancel all but one in Robot"
            )
        return self.get(found[0].id) if found else None

    def ensure(self, name: str, vlan: int) -> VSwitch:
        """The vSwitch of that name and VLAN; made where there is none. Looks first, as a second one costs a slot."""
        if vlan not in VLANS:
            raise RobotError("POST /vswitch", f"VLAN {vlan} is outside {VLANS[0]}-{VLANS[-1]}, which vSwitches take")
        if found := self.find(name, vlan):
            return found
        body = self.call("POST", "/vswitch", [("name", name), ("vlan", str(vlan))])
        return validate("POST /vswitch", body, VSwitch)

    def update(self, ident: int, name: str, vlan: int) -> None:
        self.call("POST", f"/vswitch/{ident}", [("name", name), ("vlan", str(vlan))])

    def cancel(self, ident: int, date: str = "now") -> None:
        self.call("DELETE", f"/vswitch/{ident}", [("cancellation_date", date)])

    def join(self, ident: int, servers: Sequence[int], sleep: Callable[[float], None]) -> VSwitch:
        """Have these servers on the vSwitch, and every member ready. Those that are on it already are not sent."""
        return self._change("POST", ident, servers, sleep, present=True)

    def leave(self, ident: int, servers: Sequence[int], sleep: Callable[[float], None]) -> VSwitch:
        return self._change("DELETE", ident, servers, sleep, present=False)

    def _change(
        self, method: str, ident: int, servers: Sequence[int], sleep: Callable[[float], None], *, present: bool
    ) -> VSwitch:
        path = f"/vswitch/{ident}/server"
        for _ in range(POLLS_MOST):
            members = {m.server_number for m in self.get(ident).server}
            due = [n for n in servers if (n in members) != present]
            if not due:
                break
            try:
                self.call(method, path, [("server[]", str(n)) for n in due])
                break
            except InProcess:
                # Another change is on its way: it is waited for, then ours is sent.
                sleep(POLL_SECONDS)
        else:
            raise NotReady(f"{method} {path}", f"vSwitch {ident} was in process for {_minutes()}: look at it in Robot")
        return self.wait_ready(ident, sleep)

    def wait_ready(self, ident: int, sleep: Callable[[float], None]) -> VSwitch:
        for _ in range(POLLS_MOST):
            vswitch = self.get(ident)
            if vswitch.ready:
                return vswitch
            sleep(POLL_SECONDS)
        late = ", ".join(f"{m.server_number} ({m.status})" for m in vswitch.server if m.status != "ready")
        raise NotReady(
            f"GET /vswitch/{ident}", f"after {_minutes()} these servers are not ready: {late}. Look at them in Robot"
        )


def _minutes() -> str:
    return f"{POLL_SECONDS * POLLS_MOST / 60:.0f} min"
