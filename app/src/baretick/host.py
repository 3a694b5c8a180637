"""What a pinned process asks of its host: the CPUs it was given, and a quiet garbage collector."""

import gc
import logging
import os

log = logging.getLogger(__name__)


def pin(wanted: list[int]) -> list[int]:
    """Run on the wanted CPUs alone; warn and name those that this process cannot have. Returns what it got."""
    allowed = os.sched_getaffinity(0)
    if not wanted:
        return sorted(allowed)
    missing = sorted(set(wanted) - allowed)
    if missing:
        log.warning(
            "cpu_affinity: CPUs %s are not available here (available: %s)",
            ", ".join(map(str, missing)), ", ".join(map(str, sorted(allowed))),
        )  # fmt: skip
    usable = sorted(set(wanted) & allowed)
    if not usable:
        log.warning("cpu_affinity: none of the wanted CPUs is available, running unpinned")
        return sorted(allowed)
    os.sched_setaffinity(0, usable)
    log.info("running on CPUs %s", ", ".join(map(str, usable)))
    return usable


def pin_thread(cpu: int, what: str) -> bool:
    """Run the calling thread on one CPU, whatever its process runs on; warn and go on without if that cannot be."""
    try:
        os.sched_setaffinity(0, [cpu])
    except OSError as e:
        there = os.cpu_count()
        log.warning("%s: CPU %d cannot be had (%s; this host has %s, a cpuset may allow fewer)", what, cpu, e, there)
        return False
    log.info("%s runs on CPU %d", what, cpu)
    return True


def quiet_collector() -> None:
    """Put all that lives so far out of the collector's sight, and let it look at the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
