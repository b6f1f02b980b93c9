"""How long a worker is waited for: as long as it works, not when it hangs or has nothing to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zmq

from hotbunk.errors import EngineError
from hotbunk.measure import wire as module
from hotbunk.measure.wire import LONGEST, PATIENCE, Wire
from hotbunk.worker.protocol import Beat, Produced, Report, encode


class Worker:
    """The worker's end of the socket, and a clock that goes on by ``step`` seconds with every look."""

    def __init__(self, endpoint: str) -> None:
        self.now, self.step = 0.0, 0.0
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PAIR)
        self._socket.connect(endpoint)

    def look(self) -> float:
        self.now += self.step
        return self.now

    def say(self, *reports: Report) -> None:
        for report in reports:
            self._socket.send(encode(report))

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with closing(Wire(str(tmp_path))) as wire:
        yield wire


@pytest.fixture
def worker(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    with closing(Worker(wire.endpoint)) as worker:
        monkeypatch.setattr(module, "monotonic", worker.look)
        yield worker


def beat(busy: float, operation: str = "prefill small") -> Beat:
    return Beat(busy, operation if busy else "", 0, 0, 0, 0)


def test_a_worker_at_work_is_waited_for(wire: Wire, worker: Worker) -> None:
    worker.step = 1.0
    beats = [beat(0.5 + n % 60) for n in range(1000)]  # chunks of a minute each
    worker.say(*beats, Produced("small", [], 1000.0, 30000))
    assert wire.until(Produced).prefilled == 30000
    assert worker.now > 5 * PATIENCE


def test_an_operation_that_never_ends_is_a_hang(wire: Wire, worker: Worker) -> None:
    worker.say(beat(1.0), beat(LONGEST), beat(LONGEST + 1))
    with pytest.raises(EngineError, match="the worker hung in 'prefill small' for 601 s"):
        wire.until(Produced)


def test_a_worker_with_nothing_to_do_is_not_waited_for(wire: Wire, worker: Worker) -> None:
    worker.step = 1.0
    worker.say(*(beat(1.0) for _ in range(100)), *(beat(0.0) for _ in range(300)))
    with pytest.raises(EngineError, match="has had nothing to do for 180 s, and sent no Produced"):
        wire.until(Produced)


def test_silence_is_a_hang(wire: Wire, worker: Worker) -> None:
    worker.say(beat(1.0))
    assert wire.until(Beat).busy == 1
    worker.step = 15.0
    with pytest.raises(EngineError, match="the worker hung in 'prefill small' for 30 s"):
        wire.until(Produced)


def test_a_worker_may_take_its_time_to_begin(wire: Wire, worker: Worker) -> None:
    worker.step = 100.0
    with pytest.raises(EngineError, match="has not begun for 180 s"):
        wire.until(Beat)
