"""The webservice's calls, typed: one class a family, `Robot` holds them all."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from infra.robot.credentials import RobotLogin, robot_login
from infra.robot.errors import NotFound
from infra.robot.firewalls import Firewalls
from infra.robot.models import (
    Boot,
    BootConfig,
    Cancellation,
    Ip,
    Key,
    Mac,
    Product,
    Rdns,
    ResetOptions,
    ResetType,
    Server,
    Transaction,
)
from infra.robot.reading import Calls
from infra.robot.transport import PATIENCE_SECONDS, Transport
from infra.robot.vswitches import VSwitches

BootKind = Literal["rescue", "linux", "vnc"]


class Servers(Calls):
    """/server: 200 calls an hour, so never for polling; what was read once is kept for the run."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self._known: dict[int, Server] = {}

    def every(self) -> list[Server]:
        return self.listed("/server", "server", Server)

    def get(self, number: int, *, fresh: bool = False) -> Server:
        """From memory where it was read in this run already, unless `fresh`."""
        if fresh or number not in self._known:
            self._known[number] = self.one(f"/server/{number}", "server", Server)
        return self._known[number]

    def rename(self, number: int, name: str) -> Server:
        self._known[number] = self.post(f"/server/{number}", "server", Server, [("server_name", name)])
        return self._known[number]

    def cancellation(self, number: int) -> Cancellation:
        return _cancellation(self.call("GET", f"/server/{number}/cancellation"))

    def cancel(
        self, number: int, date: str, *, reason: str | None = None, reserve_location: bool = False
    ) -> Cancellation:
        """Ends the contract. `date` is yyyy-mm-dd or "now"."""
        self._known.pop(number, None)
        form = [("cancellation_date", date), ("reserve_location", _text(reserve_location))]
        form += [("cancellation_reason", reason)] if reason else []
        return _cancellation(self.call("POST", f"/server/{number}/cancellation", form))

    def withdraw_cancellation(self, number: int) -> None:
        self._known.pop(number, None)
        self.call("DELETE", f"/server/{number}/cancellation")


def _cancellation(body: Any) -> Cancellation:
    inner = dict(body["cancellation"])
    inner.setdefault("cancellation_date", inner.pop("cancellation-date", None))
    return Cancellation.model_validate(inner)


class Resets(Calls):
    def every(self) -> list[ResetOptions]:
        return self.listed("/reset", "reset", ResetOptions)

    def options(self, number: int) -> ResetOptions:
        return self.one(f"/reset/{number}", "reset", ResetOptions)

    def reset(self, number: int, kind: ResetType) -> None:
        """50 an hour for all servers together. Never sent twice: on Uncertain look whether the host went down."""
        self.call("POST", f"/reset/{number}", [("type", kind)])

    def wake(self, number: int) -> None:
        """10 an hour."""
        self.call("POST", f"/wol/{number}")


class Boots(Calls):
    def config(self, number: int) -> BootConfig:
        return self.one(f"/boot/{number}", "boot", BootConfig)

    def get(self, number: int, kind: BootKind = "rescue") -> Boot:
        return self.one(f"/boot/{number}/{kind}", kind, Boot)

    def last(self, number: int, kind: BootKind = "rescue") -> Boot | None:
        """The last activation, where host keys of a booted rescue system may be found; None where there was none."""
        try:
            return self.one(f"/boot/{number}/{kind}/last", kind, Boot)
        except NotFound:
            return None

    def activate_rescue(self, number: int, fingerprints: Sequence[str], *, os: str = "linux") -> Boot:
        form = [("os", os), *(("authorized_key[]", f) for f in fingerprints)]
        return self.post(f"/boot/{number}/rescue", "rescue", Boot, form)

    def activate_linux(self, number: int, dist: str, fingerprints: Sequence[str], *, lang: str = "en") -> Boot:
        form = [("dist", dist), ("lang", lang), *(("authorized_key[]", f) for f in fingerprints)]
        return self.post(f"/boot/{number}/linux", "linux", Boot, form)

    def deactivate(self, number: int, kind: str = "rescue") -> None:
        self.call("DELETE", f"/boot/{number}/{kind}")


class Ips(Calls):
    def every(self) -> list[Ip]:
        return self.listed("/ip", "ip", Ip)

    def get(self, ip: str) -> Ip:
        return self.one(f"/ip/{ip}", "ip", Ip)

    def set_mac(self, ip: str) -> Mac:
        """10 an hour."""
        return Mac.model_validate(self.call("PUT", f"/ip/{ip}/mac")["mac"])

    def clear_mac(self, ip: str) -> None:
        self.call("DELETE", f"/ip/{ip}/mac")

    def rdns(self) -> list[Rdns]:
        return self.listed("/rdns", "rdns", Rdns)

    def rdns_of(self, ip: str) -> Rdns | None:
        try:
            return self.one(f"/rdns/{ip}", "rdns", Rdns)
        except NotFound:
            return None

    def set_rdns(self, ip: str, ptr: str) -> Rdns:
        """Made, or changed where there is one."""
        return self.post(f"/rdns/{ip}", "rdns", Rdns, [("ptr", ptr)])

    def delete_rdns(self, ip: str) -> None:
        self.call("DELETE", f"/rdns/{ip}")


class Keys(Calls):
    def every(self) -> list[Key]:
        return self.listed("/key", "key", Key)

    def get(self, fingerprint: str) -> Key | None:
        try:
            return self.one(f"/key/{fingerprint}", "key", Key)
        except NotFound:
            return None

    def add(self, name: str, data: str) -> Key:
        return self.post("/key", "key", Key, [("name", name), ("data", data)])

    def rename(self, fingerprint: str, name: str) -> Key:
        return self.post(f"/key/{fingerprint}", "key", Key, [("name", name)])

    def delete(self, fingerprint: str) -> None:
        self.call("DELETE", f"/key/{fingerprint}")


class Orders(Calls):
    def products(self) -> list[Product]:
        return self.listed("/order/server/product", "product", Product)

    def transactions(self) -> list[Transaction]:
        return self.listed("/order/server/transaction", "transaction", Transaction)

    def transaction(self, ident: str) -> Transaction:
        return self.one(f"/order/server/transaction/{ident}", "transaction", Transaction)

    def order(
        self,
        product: str,
        location: str,
        fingerprints: Iterable[str],
        *,
        dist: str | None = None,
        addons: Iterable[str] = ("primary_ipv4",),
        test: bool = True,
    ) -> Transaction:
        """Costs money where `test` is False; 20 a day. A comment would make it a manual order: none is sent."""
        form = [("product_id", product), ("location", location), *(("authorized_key[]", f) for f in fingerprints)]
        form += [("dist", dist)] if dist else []
        form += [*(("addon[]", a) for a in addons), ("test", _text(test))]
        return self.post("/order/server/transaction", "transaction", Transaction, form)


class Robot:
    """Every call of the webservice, over one transport: one budget, one login, one place where a 401 stops all."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.servers = Servers(transport)
        self.resets = Resets(transport)
        self.boots = Boots(transport)
        self.ips = Ips(transport)
        self.keys = Keys(transport)
        self.firewalls = Firewalls(transport)
        self.vswitches = VSwitches(transport)
        self.orders = Orders(transport)

    @classmethod
    def connect(cls, login: RobotLogin | None = None, *, patience: float = PATIENCE_SECONDS) -> "Robot":
        """With this login or the environment's; a budget that is spent is waited for `patience` seconds."""
        return cls(Transport.of(login or robot_login(), patience))


def _text(value: bool) -> str:
    return "true" if value else "false"
