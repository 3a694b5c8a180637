"""Where orders go: the paper venue, our positions in it, and the market's side that it trades against."""

from baretick.execution.orders import Key, OurOrder, TimeInForce
from baretick.execution.paper import BookView, PaperVenue, compile_paper
from baretick.execution.positions import Position

__all__ = ["BookView", "Key", "OurOrder", "PaperVenue", "Position", "TimeInForce", "compile_paper"]
