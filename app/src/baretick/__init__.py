"""Low-latency crypto trading engine: venues, books, signals, matching, warehouse."""
