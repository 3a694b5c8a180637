"""The cloud firewall before every public address: stateful, so only what comes in is named."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, collapse_addresses
from typing import Any, Protocol

RULES_MOST = 50


class OpeningLike(Protocol):
    @property
    def port(self) -> str: ...
    @property
    def sources(self) -> list[str]: ...
    @property
    def protocol(self) -> str: ...
    @property
    def description(self) -> str: ...


def hcloud_rules(admin: Sequence[str], openings: Iterable[OpeningLike]) -> list[dict[str, Any]]:
    """What may come in from the internet. Nothing is said of what may go out: one such rule would deny the rest."""
    sources = _networks(admin)
    rules: list[dict[str, Any]] = [
        {"direction": "in", "protocol": "tcp", "port": "22", "source_ips": sources, "description": "ssh of operators"},
        {"direction": "in", "protocol": "icmp", "source_ips": sources, "description": "ping of operators"},
    ]
    rules += [
        {
            "direction": "in",
            "protocol": opening.protocol,
            "port": opening.port,
            "source_ips": _networks(opening.sources),
            "description": opening.description,
        }
        for opening in openings
    ]
    if len(rules) > RULES_MOST:
        raise ValueError(f"{len(rules)} rules, and a cloud firewall takes {RULES_MOST}: join openings into ranges")
    return rules


def _networks(sources: Iterable[str]) -> list[str]:
    """As few networks as say the same; the whole internet is never one of them."""
    networks = [str(n) for n in collapse_addresses(IPv4Network(s, strict=False) for s in sources)]
    if "0.0.0.0/0" in networks:
        raise ValueError("these networks are the whole internet together: name the ones that you come from")
    return networks
