"""Level-2 order books: price levels as a venue publishes them."""

from baretick.book.l2 import Fault, L2Book

__all__ = ["Fault", "L2Book"]
