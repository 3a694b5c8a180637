"""Venues: clients that turn their public streams into events, and a stand-in that serves recorded sessions."""

from baretick.config import VenueConfig
from baretick.events import Sink
from baretick.venues.binance import BinanceClient
from baretick.venues.connection import VenueClient
from baretick.venues.okx import OkxClient

__all__ = ["BinanceClient", "OkxClient", "VenueClient", "make_client"]


def make_client(cfg: VenueConfig, sink: Sink) -> VenueClient:
    """The client that speaks the protocol of `cfg.kind`."""
    return OkxClient(cfg, sink) if cfg.kind == "okx" else BinanceClient(cfg, sink)
