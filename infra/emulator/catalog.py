"""The part of Hetzner's catalogue that a site can name: places, server types, images. Nothing here costs anything."""

from dataclasses import dataclass
from typing import Any

_FREE = {"net": "0.0000000000", "gross": "0.0000000000"}
_SINCE = "2024-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Location:
    id: int
    name: str
    city: str
    country: str
    network_zone: str
    latitude: float
    longitude: float
    datacenter: tuple[int, str]

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "description": f"{self.city} DC Park 1",
            "country": self.country,
            "city": self.city,
            "latitude": self.latitude,
            "longitude": self.longitude,
            "network_zone": self.network_zone,
        }


@dataclass(frozen=True)
class ServerType:
    id: int
    name: str
    cores: int
    memory: float
    disk: int
    cpu_type: str
    category: str

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "description": self.name.upper(),
            "category": self.category,
            "cores": self.cores,
            "memory": self.memory,
            "disk": self.disk,
            "storage_type": "local",
            "cpu_type": self.cpu_type,
            "architecture": "x86",
            "deprecated": False,
            "deprecation": None,
            "prices": [price(place.name) for place in LOCATIONS.values()],
            "locations": [
                {"id": p.id, "name": p.name, "available": True, "recommended": True, "deprecation": None}
                for p in LOCATIONS.values()
            ],
        }


@dataclass(frozen=True)
class Image:
    id: int
    name: str
    description: str
    flavor: str
    version: str
    # The Debian suite a machine is made from; None: known to the API, but no machine boots it here.
    suite: str | None

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "system",
            "status": "available",
            "name": self.name,
            "description": self.description,
            "image_size": None,
            "disk_size": 5,
            "created": _SINCE,
            "created_from": None,
            "bound_to": None,
            "os_flavor": self.flavor,
            "os_version": self.version,
            "rapid_deploy": True,
            "protection": {"delete": False},
            "deprecated": None,
            "deleted": None,
            "labels": {},
            "architecture": "x86",
        }


def price(location: str) -> dict[str, Any]:
    return {
        "location": location,
        "price_hourly": _FREE,
        "price_monthly": _FREE,
        "included_traffic": 21990232555520,
        "price_per_tb_traffic": _FREE,
    }


def datacenter_json(place: Location) -> dict[str, Any]:
    ident, name = place.datacenter
    types = list(SERVER_TYPES)
    return {
        "id": ident,
        "name": name,
        "description": f"{place.city} 1 virtual DC {name.rpartition('dc')[2]}",
        "location": place.json(),
        "server_types": {"supported": types, "available": types, "available_for_migration": types},
    }


def pricing() -> dict[str, Any]:
    return {
        "currency": "EUR",
        "vat_rate": "0.000000",
        "primary_ips": [
            {
                "type": kind,
                "prices": [
                    {"location": place.name, "price_hourly": _FREE, "price_monthly": _FREE}
                    for place in LOCATIONS.values()
                ],
            }
            for kind in ("ipv4", "ipv6")
        ],
        "floating_ip": {"price_monthly": _FREE},
        "floating_ips": [],
        "image": {"price_per_gb_month": _FREE},
        "load_balancer_types": [],
        "server_backup": {"percentage": "0.0000000000"},
        "server_types": [
            {"id": kind.id, "name": kind.name, "prices": [price(p.name) for p in LOCATIONS.values()]}
            for kind in SERVER_TYPES.values()
        ],
        "volume": {"price_per_gb_month": _FREE},
    }


LOCATIONS = {
    place.id: place
    for place in (
        Location(1, "fsn1", "Falkenstein", "DE", "eu-central", 50.47612, 12.370071, (4, "fsn1-dc14")),
        Location(2, "nbg1", "Nuremberg", "DE", "eu-central", 49.452102, 11.076665, (2, "nbg1-dc3")),
        Location(3, "hel1", "Helsinki", "FI", "eu-central", 60.169855, 24.938379, (3, "hel1-dc2")),
        Location(4, "ash", "Ashburn, VA", "US", "us-east", 39.045821, -77.487073, (5, "ash-dc1")),
        Location(5, "hil", "Hillsboro, OR", "US", "us-west", 45.54222, -122.951924, (6, "hil-dc1")),
        Location(6, "sin", "Singapore", "SG", "ap-southeast", 1.283333, 103.833333, (7, "sin-dc1")),
    )
}

_SHAPES = (
    ("cost_optimized", "shared", (("cx23", 2, 4, 40), ("cx33", 4, 8, 80), ("cx43", 8, 16, 160), ("cx53", 16, 32, 320))),
    (
        "regular_purpose",
        "shared",
        (
            ("cpx11", 2, 2, 40),
            ("cpx21", 3, 4, 80),
            ("cpx22", 2, 4, 80),
            ("cpx31", 4, 8, 160),
            ("cpx32", 4, 8, 160),
            ("cpx41", 8, 16, 240),
            ("cpx42", 8, 16, 320),
            ("cpx51", 16, 32, 360),
            ("cpx52", 12, 24, 480),
            ("cpx62", 16, 32, 640),
        ),
    ),
    (
        "general_purpose",
        "dedicated",
        (
            ("ccx13", 2, 8, 80),
            ("ccx23", 4, 16, 160),
            ("ccx33", 8, 32, 240),
            ("ccx43", 16, 64, 360),
            ("ccx53", 32, 128, 600),
            ("ccx63", 48, 192, 960),
        ),
    ),
)

SERVER_TYPES = {
    ident: ServerType(ident, name, cores, float(memory), disk, cpu, category)
    for ident, (category, cpu, (name, cores, memory, disk)) in enumerate(
        ((category, cpu, shape) for category, cpu, shapes in _SHAPES for shape in shapes), start=101
    )
}

IMAGES = {
    image.id: image
    for image in (
        Image(114690387, "debian-12", "Debian 12", "debian", "12", None),
        Image(161547269, "ubuntu-24.04", "Ubuntu 24.04", "ubuntu", "24.04", None),
        Image(310557660, "debian-13", "Debian 13", "debian", "13", "trixie"),
    )
}
