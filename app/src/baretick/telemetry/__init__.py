"""What the engine measures, and how it is shown: latency histograms and the Prometheus page."""

from baretick.telemetry.histogram import LatencyHistogram

__all__ = ["LatencyHistogram"]
