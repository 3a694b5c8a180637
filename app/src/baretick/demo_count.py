"""What a recording holds, counted from its frames by plain JSON and Decimal: the other side of the reconciliation."""

import json
from collections import defaultdict
from decimal import Decimal
from typing import Any

from baretick.venues.standin.recording import Recording

Counts = dict[tuple[str, str], tuple[int, Decimal]]
"""(symbol, trades | updates | snapshots) -> number, summed quantity."""


def count_recording(recording: Recording) -> Counts:
    """Count a whole session."""
    number: dict[tuple[str, str], int] = defaultdict(int)
    qty: dict[tuple[str, str], Decimal] = defaultdict(Decimal)

    def add(symbol: str, what: str, text: str) -> None:
        number[symbol, what] += 1
        qty[symbol, what] += Decimal(text)

    names = {symbol.lower(): symbol for symbol in recording.symbols}
    for frame in recording.frames:
        message: Any = json.loads(frame.text)
        if recording.venue == "okx":
            symbol, channel = message["arg"]["instId"], message["arg"]["channel"]
            for data in message["data"]:
                if channel == "trades":
                    add(symbol, "trades", data["sz"])
                elif channel == "books":
                    for level in data["bids"] + data["asks"]:
                        add(symbol, "snapshots" if message["action"] == "snapshot" else "updates", level[1])
        elif frame.is_snapshot:
            for level in message["bids"] + message["asks"]:
                add(names[frame.topic.partition("@")[0]], "snapshots", level[1])
        elif message["data"].get("e") == "trade":
            add(message["data"]["s"], "trades", message["data"]["q"])
        elif message["data"].get("e") == "depthUpdate":
            for level in message["data"]["b"] + message["data"]["a"]:
                add(message["data"]["s"], "updates", level[1])
    return {key: (n, qty[key]) for key, n in number.items()}
