"""/order/server: products, and transactions that become servers after a while."""

from typing import Any

from infra.emulator.robot.account import Account, usual_hardware
from infra.emulator.robot.errors import invalid_input, not_found
from infra.emulator.robot.form import Call
from infra.emulator.robot.model import Disk, Hardware, System, Transaction

READY_SECONDS = 120.0
DISTS = ["Rescue system", "Debian 12 base", "Debian 13 base", "Ubuntu 24.04 LTS base"]
LOCATIONS = ["FSN1", "NBG1", "HEL1"]
GIB = 2**30
_SHAPES: dict[str, tuple[int, int, tuple[int, ...], str]] = {
    "AX41-NVMe": (12, 64, (512, 512), "AMD Ryzen 5 3600, 64 GB DDR4, 2 x 512 GB NVMe"),
    "AX102": (32, 128, (1920, 1920), "AMD Ryzen 9 7950X3D, 128 GB DDR5 ECC, 2 x 1.92 TB NVMe"),
    "EX44": (20, 64, (512, 512), "Intel Core i5-13500, 64 GB DDR4, 2 x 512 GB NVMe"),
    "SX65": (16, 64, (1024, 1024, 22000, 22000), "AMD Ryzen 7 3700X, 64 GB DDR4, 2 x 1 TB NVMe, 2 x 22 TB SATA"),
}


def hardware(product: str, number: int) -> Hardware:
    """What a server of that product has in it; what the emulator has no picture of has two disks of 512 GB."""
    if product not in _SHAPES:
        return usual_hardware(number)
    cpus, memory, sizes, _ = _SHAPES[product]
    base = usual_hardware(number)
    disks = [
        Disk(
            name=f"sd{'abcd'[i]}" if size > 4000 else f"nvme{i}n1",
            by_id=f"{'ata' if size > 4000 else 'nvme'}-EMULATED_{size}G_{number:06d}{'ABCD'[i]}",
            wwn=f"eui.002538b{number & 0xFFFFFFFF:08x}{i}",
            bytes=size * 10**9,
            rotational=size > 4000,
        )
        for i, size in enumerate(sizes)
    ]
    return base.model_copy(update={"cpus": cpus, "memory_bytes": memory * GIB, "disks": disks})


def _product(name: str) -> dict[str, Any]:
    price = {"net": "0.0000", "gross": "0.0000"}
    return {
        "id": name,
        "name": name,
        "description": [_SHAPES[name][3]],
        "traffic": "unlimited",
        "dist": DISTS,
        "lang": ["en"],
        "location": LOCATIONS,
        "prices": [{"location": place, "price": price, "price_setup": price} for place in LOCATIONS],
        "orderable_addons": [
            {"id": "primary_ipv4", "name": "Primary IPv4", "min": 0, "max": 1, "prices": []},
        ],
    }


async def products(_account: Account, _call: Call) -> Any:
    return [{"product": _product(name)} for name in _SHAPES]


async def product(_account: Account, call: Call) -> Any:
    if call.at["id"] not in _SHAPES:
        raise not_found("product not found")
    return {"product": _product(call.at["id"])}


def settle(account: Account, order: Transaction) -> None:
    """Deliver what is due: the server stands in the rack from then on."""
    if order.manual or order.server_number or account.clock() < order.ready_at:
        return
    name, dist = order.product["id"], order.product["dist"]
    keys = [account.db.keys[f].data for f in order.keys if f in account.db.keys]
    server = account.rack(product=name, dc=f"{order.product['location']}-DC14")
    server.hardware = hardware(name, server.number)
    order.server_number = server.number
    state = server.machine
    if dist == "Rescue system":
        state.running, state.rescue_keys = "rescue", keys
    else:
        state.running = "disk"
        state.installed = System(hostname=f"server-{server.number}", release=dist, authorized_keys=keys)


def _render(account: Account, order: Transaction) -> dict[str, Any]:
    settle(account, order)
    keys = [account.db.keys[f] for f in order.keys if f in account.db.keys]
    server = account.db.servers.get(order.server_number) if order.server_number else None
    return {
        "transaction": {
            "id": order.id,
            "date": order.date,
            "status": "ready" if order.server_number else "in process",
            "server_number": order.server_number,
            # An order without the addon has IPv6 only.
            "server_ip": server.ip if server and "primary_ipv4" in order.addons else None,
            "authorized_key": [{"key": k.model_dump(include={"name", "fingerprint", "type", "size"})} for k in keys],
            "host_key": [],
            "comment": order.comment,
            "product": order.product,
            "addons": [{"id": a, "name": a} for a in order.addons],
        }
    }


async def index(account: Account, _call: Call) -> Any:
    if not account.db.transactions:
        raise not_found("no transactions found")
    return [_render(account, t) for t in account.db.transactions.values()]


async def show(account: Account, call: Call) -> Any:
    order = account.db.transactions.get(call.at["id"])
    if order is None:
        raise not_found("transaction not found")
    return _render(account, order)


async def create(account: Account, call: Call) -> Any:
    name, keys = call.need("product_id"), call.many("authorized_key")
    if name not in _SHAPES:
        raise invalid_input(invalid=("product_id",))
    if not keys and call.get("password") is None:
        raise invalid_input(missing=("authorized_key",))
    if any(f not in account.db.keys for f in keys):
        raise invalid_input(invalid=("authorized_key",))
    dist, place, lang = call.get("dist") or DISTS[0], call.get("location") or LOCATIONS[0], call.get("lang") or "en"
    for field, value, known in (("dist", dist, DISTS), ("location", place, LOCATIONS), ("lang", lang, ["en"])):
        if value not in known:
            raise invalid_input(invalid=(field,))
    order = Transaction(
        id=f"B{account.today().replace('-', '')}-{account.store.new_id()}",
        date=account.stamp().replace(" ", "T") + "+00:00",
        ready_at=account.later(READY_SECONDS),
        product={"id": name, "name": name, "description": [_SHAPES[name][3]], "dist": dist, "lang": lang}
        | {"traffic": "unlimited", "location": place},
        keys=keys,
        addons=call.many("addon"),
        comment=call.get("comment"),
        # Who writes a comment is served by a person.
        manual=call.get("comment") is not None,
    )
    if not call.flag("test"):
        account.db.transactions[order.id] = order
    return 201, _render(account, order) if not call.flag("test") else {"transaction": _dry(order)}


def _dry(order: Transaction) -> dict[str, Any]:
    return {
        "id": order.id,
        "date": order.date,
        "status": "ready",
        "server_number": None,
        "server_ip": None,
        "authorized_key": [],
        "host_key": [],
        "comment": order.comment,
        "product": order.product,
        "addons": [],
    }
