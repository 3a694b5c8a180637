"""What the mirror says when it must stop: which artefact, what was expected, what was found, how to mend it."""


class MirrorError(Exception):
    """One artefact can't be had or can't be trusted."""

    def __init__(self, artefact: str, what: str, *, expected: str = "", found: str = "", mend: str = "") -> None:
        self.artefact = artefact
        lines = [f"{artefact}: {what}"]
        lines += [f"  expected: {expected}"] if expected else []
        lines += [f"  found:    {found}"] if found else []
        lines += [f"  mend:     {mend}"] if mend else []
        super().__init__("\n".join(lines))
