"""A real server in a thread, with a fake backend behind it."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from hotbunk.gateway.app import Gateway, build
from hotbunk.gateway.server import address, bind
from hotbunk.llama.vocab import Vocab
from tests.gateway.fake import Fake


@pytest.fixture(scope="session")
def vocab(smollm2: Path) -> Iterator[Vocab]:
    vocab = Vocab(smollm2)
    yield vocab
    vocab.close()


@pytest.fixture(scope="session")
def served(smollm2: Path) -> Iterator[tuple[Fake, str]]:
    """A backend and the address it is served at."""
    fake = Fake(smollm2)
    with bind("127.0.0.1", 0) as listener:
        config = uvicorn.Config(build(Gateway(fake)), log_config=None, lifespan="on", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
        thread.start()
        yield fake, address(listener)
        server.should_exit = True
        thread.join()


@pytest.fixture
def fake(served: tuple[Fake, str]) -> Fake:
    """The backend, told nothing yet."""
    served[0].reset()
    return served[0]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def url(served: tuple[Fake, str]) -> str:
    return served[1]
