"""``hotbunk serve`` as a process."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hotbunk import runtime
from hotbunk.cli.serve import run
from hotbunk.config import Config
from hotbunk.errors import ConfigError

PROGRAM = """
import asyncio, sys
from pathlib import Path
from hotbunk.cli.serve import run
from hotbunk.config import Config
from hotbunk.runtime import driver

async def survey(*_):
    print("surveying", flush=True)
    await asyncio.Event().wait()

driver.survey = survey
run(Config(paths=[Path(sys.argv[1])], device="cpu", threads=1, measure=False, port=0))
"""


def test_a_server_that_is_stopped_while_it_starts_leaves_nothing(
    smollm2: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-c", PROGRAM, str(smollm2)]
    pipe = subprocess.PIPE
    own = environment | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=own) as process:
        assert process.stdout
        assert process.stdout.readline() == "surveying\n"
        assert len(list(tmp_path.iterdir())) == 2  # a worker's folder, and one for what spills
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    assert process.returncode == 0
    assert said.endswith("stopped before anything was served\n") and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_told_before_anything_is_loaded(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "Runtime", lambda _: pytest.fail("models would be opened"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot serve on 127\.0\.0\.1:{port}: address already in use"):
            run(Config(paths=[smollm2], device="cpu", port=port))
