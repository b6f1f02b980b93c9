"""A worker that dies between two commands, and one that does not leave."""

import signal
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from hotbunk.measure import wire as module
from hotbunk.measure.wire import Died, Wire, worker
from hotbunk.worker.protocol import Shutdown


def test_a_command_for_nobody_is_not_waited_with(tmp_path: Path) -> None:
    with closing(Wire(str(tmp_path))) as wire, subprocess.Popen(["false"], text=True) as process:
        wire.process = process
        process.wait()
        with pytest.raises(Died, match="the worker ended with status 1"):
            wire.send(Shutdown())


def test_one_that_does_not_leave_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PARTING", 0.0)
    with worker("cpu", 1) as wire:
        assert wire.process
        wire.process.send_signal(signal.SIGSTOP)
    assert wire.process.returncode == -signal.SIGKILL
