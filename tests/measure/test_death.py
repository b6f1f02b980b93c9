"""A worker that dies between two commands."""

import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from hotbunk.measure.wire import Died, Wire
from hotbunk.worker.protocol import Shutdown


def test_a_command_for_nobody_is_not_waited_with(tmp_path: Path) -> None:
    with closing(Wire(str(tmp_path))) as wire, subprocess.Popen(["false"], text=True) as process:
        wire.process = process
        process.wait()
        with pytest.raises(Died, match="the worker ended with status 1"):
            wire.send(Shutdown())
