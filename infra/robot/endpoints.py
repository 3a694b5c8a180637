"""The webservice's endpoints, how often each may be called, and which calls may be sent twice."""

import re
from dataclasses import dataclass

HOUR, DAY = 3600, 86400


@dataclass(frozen=True)
class Bucket:
    """What is counted together. Where the documentation leaves open what shares a limit, it is taken to be shared."""

    name: str
    limit: int
    window: int = HOUR


@dataclass(frozen=True)
class Endpoint:
    methods: str
    pattern: re.Pattern[str]
    bucket: Bucket


def _endpoint(methods: str, pattern: str, name: str, limit: int, window: int = HOUR) -> Endpoint:
    return Endpoint(methods, re.compile(pattern), Bucket(name, limit, window))


# The first that fits counts.
ENDPOINTS = (
    _endpoint("GET", r"/server(/\d+)?", "server", 200),
    _endpoint("POST", r"/server/\d+", "server rename", 200),
    _endpoint("GET POST DELETE", r"/server/\d+/cancellation", "cancellation", 200),
    _endpoint("PUT DELETE", r"/ip/[^/]+/mac", "ip mac", 10),
    _endpoint("GET POST", r"/ip(/.+)?", "ip", 5000),
    _endpoint("GET", r"/subnet(/.+)?", "subnet", 5000),
    _endpoint("GET", r"/reset(/\d+)?", "reset options", 500),
    _endpoint("POST", r"/reset/\d+", "reset", 50),
    _endpoint("GET", r"/wol/\d+", "wol options", 500),
    _endpoint("POST", r"/wol/\d+", "wol", 10),
    _endpoint("GET POST DELETE", r"/boot/\d+(/\w+)?", "boot", 500),
    _endpoint("GET", r"/boot/\d+/\w+/last", "boot last", 500),
    _endpoint("GET PUT POST DELETE", r"/rdns(/.+)?", "rdns", 500),
    _endpoint("GET", r"/key(/.+)?", "key", 500),
    _endpoint("POST DELETE", r"/key(/.+)?", "key change", 200),
    _endpoint("GET POST DELETE", r"/firewall/template(/\d+)?", "firewall template", 500),
    _endpoint("GET POST DELETE", r"/firewall/\d+", "firewall", 500),
    _endpoint("GET", r"/vswitch(/\d+)?", "vswitch", 500),
    _endpoint("POST DELETE", r"/vswitch(/\d+)?", "vswitch change", 100),
    _endpoint("POST DELETE", r"/vswitch/\d+/server", "vswitch members", 100),
    _endpoint("GET", r"/order/server/(product|transaction)(/.+)?", "order", 500),
    _endpoint("POST", r"/order/server/transaction", "order server", 20, DAY),
)

BUCKETS = tuple({e.bucket.name: e.bucket for e in ENDPOINTS}.values())

# What comes to the same when it is sent twice: a lost answer is asked for again. A reset would restart a host that is
# just booting, a second order costs money, and a vSwitch would be made twice: there the caller looks first.
_ONCE = re.compile(r"POST (/reset/\d+|/vswitch|/order/.*|/wol/\d+|/firewall/template|/key)")


def bucket_of(method: str, path: str) -> Bucket:
    """Raises LookupError for what the webservice does not have."""
    for endpoint in ENDPOINTS:
        if method in endpoint.methods.split() and endpoint.pattern.fullmatch(path):
            return endpoint.bucket
    raise LookupError(f"the webservice has no {method} {path}")


def repeatable(method: str, path: str) -> bool:
    return not _ONCE.fullmatch(f"{method} {path}")
