"""What holds for every integration test."""

import pytest

from baretick.venues.standin.server import CAPTURES_VARIABLE


@pytest.fixture(autouse=True)
def _each_test_names_what_its_venue_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make test` points at recordings where there are some; a test that wants them asks for the `captures` fixture."""
    monkeypatch.delenv(CAPTURES_VARIABLE, raising=False)
