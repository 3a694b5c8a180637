"""The streams of `baretick bench` with their pins, and the engine's commands for them.

Stream rows are (ts, command, symbol*2 + side, id, price, qty). The same seed gives the same bytes: the sha256 of a
stream pins it, and the fingerprints in STREAMS are what CppTrader, exchange-core and liquibook also give for it.
`commands` turns a stream into the engine's records, of accounts that never meet themselves.
"""

from typing import NamedTuple

import numpy as np

from baretick.bench.orders import CANCEL, make, make_deep
from baretick.matching.records import COMMAND, Kind, Op, words

__all__ = ["CANCEL", "DEEP", "LONG_STREAMS", "STREAMS", "Stream", "commands", "make", "make_deep"]

OPS = np.array([Op.NEW, Op.NEW, Op.CANCEL, Op.REDUCE, Op.REPLACE, Op.NEW], np.uint8)
KINDS = np.array([Kind.GTC, Kind.IOC, 0, 0, 0, Kind.MARKET], np.uint8)


class Stream(NamedTuple):
    seed: int
    events: int
    symbols: int
    sha256: str
    trades: int
    volume: int
    tradehash: str
    resting: int
    restqty: int
    bookhash: str
    rejects: int


STREAMS = {
    "s1_1m": Stream(
        42, 1_000_000, 1, "4ff0de45ceca45f4285c652b4076351f597719fe5f8c995cde3082407017fe8a",
        244730, 8235279, "f8f7411b6ff78ec0", 10766, 431765, "b21d2b2d21712268", 6501,
    ),
    "s8_1m": Stream(
        43, 1_000_000, 8, "85edf7cb3ff71bde3ffb57f384485bcd4bcc240035707cfb7d063df9050ac52a",
        192793, 5912547, "e49c7d21fa97c7e9", 61395, 2437384, "6294eafd1b57ec40", 5971,
    ),
}  # fmt: skip
LONG_STREAMS = {
    "s1_5m": Stream(
        42, 5_000_000, 1, "2cea805345e6583ccbe14949d3d91235eacf77bc2e998aaeffb61c76cf8c920c",
        1258698, 42303977, "7c233149406fae42", 12969, 523035, "5fb76d5705da7ee8", 34279,
    ),
    "s8_5m": Stream(
        43, 5_000_000, 8, "452b34a938a6d3ef4cdbc75fc0925435a12666e6446551ddf25bedf01fee941f",
        1178867, 38800662, "ee5d673caa025421", 94134, 3696255, "db9d040dde0fc8da", 32397,
    ),
}  # fmt: skip
DEEP = {
    "deep_add": Stream(
        44, 1_000_000, 1, "ae940bfc2d03d780e3094467cc1ed672a0b6b2c8993ea48a34b79cb7d2170d72",
        0, 0, "cbf29ce484222325", 1000000, 500503757, "0913ed6c6fc1d2ef", 0,
    ),
    "deep_all": Stream(
        44, 2_000_000, 1, "e69f100a0a543ead02e8106eb27dc6312e484e1c1bac9fe8e007f4cd08d2bfd0",
        0, 0, "cbf29ce484222325", 0, 0, "0835ec07b4ee4fb0", 0,
    ),
}  # fmt: skip


def commands(stream: np.ndarray, accounts: int = 64) -> np.ndarray:
    """A stream as command records (rows of 8 int64).

    Buys come from even accounts and sells from odd ones, so self-trade prevention looks at every trade and ends none.
    """
    out = np.zeros(len(stream), COMMAND)
    out["seq"] = np.arange(1, len(stream) + 1)
    out["ts"], out["order_id"], out["price"], out["qty"] = stream[:, 0], stream[:, 3], stream[:, 4], stream[:, 5]
    out["op"], out["kind"] = OPS[stream[:, 1]], KINDS[stream[:, 1]]
    out["side"], out["symbol"] = stream[:, 2] & 1, stream[:, 2] >> 1
    out["account"] = 2 + 2 * (stream[:, 3] % (accounts // 2 - 1)) + out["side"]
    return words(out)
