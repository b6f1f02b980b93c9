"""The engine's end of the link, in this process."""

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import zmq

from hotbunk.worker.link import Link
from hotbunk.worker.protocol import Beat, Cancel, Hello, encode


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        socket.bind(f"ipc://{tmp_path}/link")
        yield socket


@pytest.fixture
def link(runtime: zmq.Socket[bytes], tmp_path: Path) -> Iterator[Link]:
    hello = Hello("CPU", "", 0, 0, 1, "", True)
    link = Link(f"ipc://{tmp_path}/link", hello, lambda: Beat(0, "", 0, 0, 0, 0), None)
    yield link
    link.close()


def test_woken_by_another_thread(link: Link) -> None:
    assert link.receive(wait=False) is None
    other = Thread(target=link.wake)
    other.start()
    assert link.receive(wait=True) is None, "it does not wait for ever"
    other.join()


def test_commands_are_kept_in_order_past_a_waking(link: Link, runtime: zmq.Socket[bytes]) -> None:
    link.wake()
    for sequence in (1, 2):
        runtime.send(encode(Cancel(sequence)))
    assert [link.receive(wait=True) for _ in range(3)] == [None, Cancel(1), Cancel(2)]
