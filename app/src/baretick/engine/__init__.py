"""The engine process: venue clients, trading core, Kafka, Redis, HTTP; `main(cfg)` runs it until SIGTERM."""

from baretick.engine.core import TradingCore
from baretick.engine.service import Engine, main

__all__ = ["Engine", "TradingCore", "main"]
