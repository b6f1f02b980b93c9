"""What all tests share: small models, and a device with memory of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings

import hotbunk
from hotbunk.cli import samples
from hotbunk.cli.profile import session
from hotbunk.profile import profiler
from tests.models import mixture, tied_kquant

# the gate decides the same each time; `make fuzz` looks for what it has not tried
settings.register_profile("gate", derandomize=True)
settings.register_profile("fuzz", print_blob=True)
settings.load_profile("gate")

# a shell has its background jobs ignore Ctrl-C, and so would every program that a test starts and breaks off
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have measured and not judged (``record_property``) is told all the same, at the end."""
    reports = [each for kind in terminalreporter.stats.values() for each in kind if isinstance(each, pytest.TestReport)]
    told = {each.nodeid: each.user_properties for each in reports if each.when == "call" and each.user_properties}
    if told:
        terminalreporter.section("measured")
    for test, properties in told.items():
        terminalreporter.write_line(test)
        for name, value in properties:
            terminalreporter.write_line(f"    {name}  {value}")


@pytest.fixture(scope="session", autouse=True)
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the user has measured is not for tests, nor theirs for the user: a folder of data of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(autouse=True)
def no_data(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is what one test has measured for the next: who knows costs decides otherwise."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock for profiles that goes on when it is looked at: a busy machine measures no less in its time."""
    ticks = count()
    for module in (session, profiler):
        monkeypatch.setattr(module, "monotonic", lambda: next(ticks) * 0.2)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct in Q4_1, as its package holds it: 30 blocks, tied embeddings."""
    return samples.smollm2()


@pytest.fixture(scope="session")
def gemma3() -> Path:
    """Gemma 3 270M in Q4_K_M, put together from its packages once: 18 blocks, sliding window, tied embeddings."""
    return samples.gemma3()


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """For a process of its own that finds hotbunk where this one did."""
    return {**os.environ, "PYTHONPATH": str(Path(hotbunk.__file__).parent.parent)}


@pytest.fixture(scope="session")
def rpc_device(environment: dict[str, str]) -> Iterator[str]:
    """An RPC device of this machine's CPU, in a process of its own, for engines in this one.

    It serves one client at a time, and libggml may stay connected to it for as long as this process lives.
    """
    with rpc(environment) as device:
        yield device


@pytest.fixture(scope="session")
def spare_device(environment: dict[str, str]) -> Iterator[str]:
    """Another one, for processes that tests start and end: between them nobody is connected."""
    with rpc(environment) as device:
        yield device


@pytest.fixture
def own_rpc_device(environment: dict[str, str]) -> Iterator[str]:
    """Another one, for a test whose module has a client at the others."""
    with rpc(environment) as device:
        yield device


@contextmanager
def rpc(environment: dict[str, str]) -> Iterator[str]:
    """One thread, since more would contend for cores."""
    command = [sys.executable, "-m", "hotbunk.llama.rpc", "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as server:
        assert server.stdout
        yield f"rpc:{server.stdout.readline().split()[-1].decode()}"
        server.kill()


@pytest.fixture(scope="session")
def kquant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tied Llama of 4 blocks in Q4_K_M."""
    return tied_kquant(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of experts of 4 blocks in F16, with a head of its own."""
    return mixture(tmp_path_factory.mktemp("mixture"))
