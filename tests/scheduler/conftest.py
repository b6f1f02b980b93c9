"""What tests of the scheduler share."""

from collections.abc import Iterator
from typing import NoReturn

import pytest

from hotbunk.scheduler import scheduler


@pytest.fixture(scope="package", autouse=True)
def loud() -> Iterator[None]:
    """What a policy raises, which a server logs and outlives, fails the test: raised again where it is handled."""

    def fail(*_: object) -> NoReturn:
        raise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler.log, "exception", fail)
        yield
