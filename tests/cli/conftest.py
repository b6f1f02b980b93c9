"""What tests of the command line share."""

from itertools import count

import pytest

from hotbunk.cli.profile import session
from hotbunk.profile import profiler

TICK = 0.2


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock for profiles that goes on when it is looked at: a busy machine measures no less in its time."""
    ticks = count()
    for module in (session, profiler):
        monkeypatch.setattr(module, "monotonic", lambda: next(ticks) * TICK)
