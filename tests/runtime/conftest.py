"""What tests of the runtime share."""

from collections.abc import Iterator

import pytest

from tests.runtime.simulated import Device, simulated


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """Every worker is simulated; this is what they all run on."""
    with simulated(monkeypatch) as made:
        yield made
