"""When the journal is made durable: after each commit, in batches, or not at all."""

from typing import NamedTuple


class Fsync(NamedTuple):
    """`each`: every commit waits for the disk, and only then may be acknowledged. `batch`: commits wait together, until
    `commands` commands or `interval_ms` have gathered. `off`: the kernel writes when it likes; a killed process loses
    nothing, a machine that loses power loses what the kernel had not written: for benchmarks and for replicas.
    """

    mode: str = "each"
    commands: int = 256
    interval_ms: float = 2.0

    @classmethod
    def parse(cls, text: str) -> "Fsync":
        """`each`, `off`, `batch` or `batch:COUNT:MILLISECONDS`; ValueError says what else was given."""
        mode, *rest = text.split(":")
        try:
            if mode in ("each", "off") and not rest:
                return cls(mode)
            if mode == "batch" and len(rest) in (0, 2):
                policy = cls(mode, int(rest[0]), float(rest[1])) if rest else cls(mode)
                if policy.commands >= 1 and policy.interval_ms > 0:
                    return policy
        except ValueError:
            pass
        raise ValueError(
            f"fsync policy {text!r}: must be each, off, batch, or batch:COUNT:MILLISECONDS as in batch:256:2"
        )
