"""The webservice without its wire: who may call what, how often, and what comes back. Time is the account's."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from infra.emulator.robot import addresses, boot, firewall, keys, orders, servers, vswitch
from infra.emulator.robot.account import Account
from infra.emulator.robot.errors import RobotRefusal, not_found
from infra.emulator.robot.form import Call

Handler = Callable[[Account, Call], Awaitable[Any]]
HOUR, DAY = 3600, 86400
# Hetzner blocks an address for ten minutes after so many failed logins.
LOGINS, LOCKED_SECONDS = 3, 600


@dataclass(frozen=True)
class Route:
    method: str
    template: str
    handler: Handler
    limit: int
    window: int = HOUR
    status: int = 200

    @property
    def endpoint(self) -> str:
        return f"{self.method} {self.template}"


def _routes() -> list[Route]:
    s, b, f, v, o, a = servers, boot, firewall, vswitch, orders, addresses
    kind = "/boot/{n}/{kind}"
    template = "/firewall/template/{id}"
    return [
        Route("GET", "/server", s.index, 200),
        Route("GET", "/server/{n}", s.show, 200),
        Route("POST", "/server/{n}", s.rename, 200),
        Route("GET", "/server/{n}/cancellation", s.show_cancellation, 200),
        Route("POST", "/server/{n}/cancellation", s.cancel, 200),
        Route("DELETE", "/server/{n}/cancellation", s.withdraw, 200),
        Route("GET", "/ip", a.index, 5000),
        Route("GET", "/ip/{ip}", a.show, 5000),
        Route("POST", "/ip/{ip}", a.warn, 5000),
        Route("GET", "/ip/{ip}/mac", a.show_mac, 5000),
        Route("PUT", "/ip/{ip}/mac", a.set_mac, 10),
        Route("DELETE", "/ip/{ip}/mac", a.clear_mac, 10),
        Route("GET", "/subnet", a.subnets, 5000),
        Route("GET", "/reset", s.resets, 500),
        Route("GET", "/reset/{n}", s.show_reset, 500),
        Route("POST", "/reset/{n}", s.reset, 50),
        Route("GET", "/wol/{n}", s.show_wol, 500),
        Route("POST", "/wol/{n}", s.wake, 10),
        Route("GET", "/boot/{n}", b.show_all, 500),
        Route("GET", kind, b.show, 500),
        Route("POST", kind, b.activate, 500),
        Route("DELETE", kind, b.deactivate, 500),
        Route("GET", kind + "/last", b.last, 500),
        Route("GET", "/rdns", a.rdns_index, 500),
        Route("GET", "/rdns/{ip}", a.rdns_show, 500),
        Route("PUT", "/rdns/{ip}", a.rdns_create, 500),
        Route("POST", "/rdns/{ip}", a.rdns_write, 500),
        Route("DELETE", "/rdns/{ip}", a.rdns_delete, 500),
        Route("GET", "/key", keys.index, 500),
        Route("POST", "/key", keys.create, 200, status=201),
        Route("GET", "/key/{fingerprint}", keys.show, 500),
        Route("POST", "/key/{fingerprint}", keys.rename, 200),
        Route("DELETE", "/key/{fingerprint}", keys.delete, 200),
        Route("GET", "/firewall/template", f.templates, 500),
        Route("POST", "/firewall/template", f.create_template, 500),
        Route("GET", template, f.show_template, 500),
        Route("POST", template, f.update_template, 500),
        Route("DELETE", template, f.delete_template, 500),
        Route("GET", "/firewall/{n}", f.show, 500),
        Route("POST", "/firewall/{n}", f.write, 500),
        Route("DELETE", "/firewall/{n}", f.clear, 500),
        Route("GET", "/vswitch", v.index, 500),
        Route("POST", "/vswitch", v.create, 100),
        Route("GET", "/vswitch/{id}", v.show, 500),
        Route("POST", "/vswitch/{id}", v.update, 100),
        Route("DELETE", "/vswitch/{id}", v.cancel, 100),
        Route("POST", "/vswitch/{id}/server", v.join, 100),
        Route("DELETE", "/vswitch/{id}/server", v.leave, 100),
        Route("GET", "/order/server/product", o.products, 500),
        Route("GET", "/order/server/product/{id}", o.product, 500),
        Route("GET", "/order/server/transaction", o.index, 500),
        Route("GET", "/order/server/transaction/{id}", o.show, 500),
        Route("POST", "/order/server/transaction", o.create, 20, DAY),
    ]


ROUTES = _routes()
_PATTERNS = [(re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.template)), route) for route in ROUTES]


@dataclass(frozen=True)
class Answer:
    status: int
    # None: nothing follows the status.
    body: Any


class RobotService:
    def __init__(self, account: Account, user: str, password: str) -> None:
        self.account = account
        self._login = (user, password)

    async def answer(self, call: Call, login: tuple[str, str] | None, source: str = "127.0.0.1") -> Answer:
        """One request, start to end; a refusal is an answer as any other."""
        try:
            self._admit(login, source)
            route, at = self._route(call)
            self._count(route)
            for order in self.account.db.transactions.values():
                orders.settle(self.account, order)
            result = await route.handler(self.account, replace(call, at=at))
        except RobotRefusal as refusal:
            return Answer(refusal.status, refusal.body())
        if isinstance(result, tuple):
            return Answer(*result)
        return Answer(route.status, result)

    def _admit(self, login: tuple[str, str] | None, source: str) -> None:
        failed = self.account.db.failed_logins
        now = self.account.clock()
        recent = [at for at in failed.get(source, []) if at > now - LOCKED_SECONDS]
        # Who is locked out is told the same, whatever is sent along.
        if login == self._login and len(recent) < LOGINS:
            failed.pop(source, None)
            return
        if len(recent) < LOGINS:
            recent.append(now)
        failed[source] = recent
        raise RobotRefusal(401, "UNAUTHORIZED", "Unauthorized")

    def _route(self, call: Call) -> tuple[Route, dict[str, str]]:
        for pattern, route in _PATTERNS:
            if route.method == call.method and (match := pattern.fullmatch(call.path)):
                return route, match.groupdict()
        if any(pattern.fullmatch(call.path) for pattern, _ in _PATTERNS):
            raise RobotRefusal(405, "METHOD_NOT_ALLOWED", f"{call.method} is not allowed here")
        raise not_found(f"the webservice has no {call.path}")

    def _count(self, route: Route) -> None:
        scale = self.account.db.settings.limit_scale
        if not scale:
            return
        most, now = max(1, int(route.limit * scale)), self.account.clock()
        calls = self.account.db.calls
        recent = [at for at in calls.get(route.endpoint, []) if at > now - route.window]
        calls[route.endpoint] = recent
        if len(recent) >= most:
            raise RobotRefusal(
                403,
                "RATE_LIMIT_EXCEEDED",
                "rate limit exceeded",
                # Documented as `max_request`.
                max_requests=most,
                interval=max(1, int(recent[0] + route.window - now) + 1),
            )
        recent.append(now)
