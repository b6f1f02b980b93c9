"""The link: the one thread that owns the worker's socket, and beats whatever the engine is doing."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic

import msgspec
import zmq

from hotbunk.worker.protocol import Beat, Command, Failed, Hello, Report, decode_command, encode

log = logging.getLogger("hotbunk.worker")

PERIOD = 0.5  # seconds between beats
_LINGER = 2000  # milliseconds that the last reports have to leave


class Link:
    """Commands in, reports out. ZeroMQ's sockets belong to one thread: reports reach it through a second one."""

    def __init__(self, endpoint: str, hello: Hello, beat: Callable[[], Beat], parent: int | None) -> None:
        """Connect to ``endpoint``, say ``hello`` and start the thread.

        ``parent``: exit when that process is not our parent any more.
        """
        self._context = zmq.Context()
        self._commands: SimpleQueue[Command | None] = SimpleQueue()
        self._beat = beat
        self._parent = parent
        outer = _socket(self._context)
        outer.connect(endpoint)
        outer.send(encode(hello))
        inner = _socket(self._context)
        inner.bind("inproc://reports")
        self._out = _socket(self._context)
        self._out.connect("inproc://reports")
        self._thread = Thread(target=self._run, args=(outer, inner), name="link", daemon=True)
        self._thread.start()

    def send(self, report: Report) -> None:
        """Send a report; only the thread that made the link may."""
        self._out.send(encode(report))

    def receive(self, wait: bool) -> Command | None:
        """The next command; None if there is none yet and the caller does not ``wait``, or is woken."""
        try:
            return self._commands.get(block=wait)
        except Empty:
            return None

    def wake(self) -> None:
        """End a wait for commands; any thread may."""
        self._commands.put(None)

    def close(self) -> None:
        """Send what is left and end the thread."""
        self._out.send(b"")
        self._thread.join()
        self._out.close()
        self._context.term()

    def _run(self, outer: zmq.Socket[bytes], inner: zmq.Socket[bytes]) -> None:
        poller = zmq.Poller()
        poller.register(outer, zmq.POLLIN)
        poller.register(inner, zmq.POLLIN)
        due = monotonic()
        while True:
            if monotonic() >= due:
                self._watch_parent()
                outer.send(encode(self._beat()))
                due = monotonic() + PERIOD
            ready = dict(poller.poll(max(0, round((due - monotonic()) * 1000))))
            if inner in ready:
                frame = inner.recv()
                if not frame:
                    break
                outer.send(frame)
            if outer in ready:
                self._take(outer)
        inner.close()
        outer.close()

    def _take(self, outer: zmq.Socket[bytes]) -> None:
        frame = outer.recv()
        try:
            self._commands.put(decode_command(frame))
        except msgspec.MsgspecError as error:
            outer.send(encode(Failed("?", f"not a command: {error}")))

    def _watch_parent(self) -> None:
        if self._parent is not None and os.getppid() != self._parent:
            log.warning("the process %d that started this worker is gone: exiting", self._parent)
            os._exit(1)  # at once: the engine may be deep in a call


def _socket(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.PAIR)
    socket.set_hwm(0)  # a report is never dropped, and never blocks the engine
    socket.linger = _LINGER
    return socket
