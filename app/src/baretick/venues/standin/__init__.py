"""The venue stand-in: recorded or synthetic sessions, served over the venues' own protocols."""

from baretick.venues.standin.server import Standin

__all__ = ["Standin"]
