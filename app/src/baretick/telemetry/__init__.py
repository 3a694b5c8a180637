"""What the engine measures and how it is shown: clocks, latency histograms, their Prometheus, file and plot forms.

    clock       timestamps for hot paths (time stamp counter), calibrated at start
    hdr         HdrHistogram-compatible recording without allocation, from compiled code or from Python
    export      Prometheus histograms and `.hgrm` files
    plot        percentile curves (needs matplotlib: the extra `demo`)

docs/latency.md says what the figures mean and how coordinated omission is handled.
"""

from baretick.telemetry.hdr import HdrHistogram

__all__ = ["HdrHistogram"]
