"""The worker process: ``python -m hotbunk.worker --endpoint ipc:///... --device SPEC``."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path

from hotbunk.errors import EngineError, HotbunkError
from hotbunk.llama import tensor
from hotbunk.llama.device import Device, open_device
from hotbunk.llama.model import ORDERED
from hotbunk.llama.pool import pool
from hotbunk.worker import machine
from hotbunk.worker.arena import Arena
from hotbunk.worker.engine import Engine
from hotbunk.worker.link import Link
from hotbunk.worker.protocol import Beat, Hello, Shutdown
from hotbunk.worker.store import Store
from hotbunk.worker.watch import Watch

STORE = 0.5
"""Share of the free host memory that the host store takes, unless told."""
ARENA, ARENA_MOST = 1 / 16, 16 << 30
"""The same for the pinned arena of suspended sequences, and the most bytes it takes."""

log = logging.getLogger("hotbunk.worker")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="hotbunk.worker", description=__doc__)
    parser.add_argument("--endpoint", required=True, help="ZeroMQ address that the runtime has bound")
    parser.add_argument("--device", required=True, help="auto, cpu, a name libllama gives, or rpc:HOST:PORT")
    # one core is left to the gateway: libllama's threads wait for each other by spinning, and crawl when they share
    parser.add_argument("--threads", type=int, default=max(1, machine.cores() - 1))
    parser.add_argument("--host-memory", type=_bytes, default=None, help="bytes of the host store, or auto")
    parser.add_argument("--arena", type=_bytes, default=None, help="bytes of the pinned arena, or auto")
    parser.add_argument("--held-budget", type=int, default=1 << 30, help="bytes of suspended states kept in memory")
    parser.add_argument("--spill-dir", type=Path, default=Path(tempfile.gettempdir()), help="where the others go")
    parser.add_argument("--host-parent-pid", type=int, default=None, help="exit when this is not the parent any more")
    parser.add_argument("--ordinary", action="store_true", help="load models anew each time, to compare with")
    return parser.parse_args()


def _bytes(text: str) -> int | None:
    return None if text == "auto" else int(text)


def main() -> int:
    """Serve commands until ``Shutdown``. Exit status 2: the device cannot be opened."""
    arguments = _arguments()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s worker %(levelname)s %(message)s")
    for each in (signal.SIGINT, signal.SIGTERM):  # they reach the whole group: the runtime decides
        signal.signal(each, signal.SIG_IGN)
    try:
        device = open_device(arguments.device)
        arguments.spill_dir.mkdir(parents=True, exist_ok=True)
    except (HotbunkError, OSError) as error:
        print(f"hotbunk.worker: {error}", file=sys.stderr)
        return 2
    _serve(arguments, device)
    return 0


def _serve(arguments: argparse.Namespace, device: Device) -> None:
    arena, watch = Arena(arguments.held_budget, arguments.spill_dir), Watch()
    store = Store(device, *_shares(arguments, device), arena.pin, lambda: link.wake())
    engine = Engine(
        device, arguments.threads, arena, lambda report: link.send(report), store, watch, arguments.ordinary
    )
    link = Link(
        arguments.endpoint,
        _hello(device, arguments.threads, arguments.ordinary),
        lambda: _beat(device, engine, arena, watch, store),
        arguments.host_parent_pid,
    )
    try:
        _loop(engine, link)
    except Exception:
        log.exception("the engine failed")
        # at once: others would be waited for that may yet work for long, and meanwhile the beats say that all is well
        os._exit(1)
    link.close()


def _shares(arguments: argparse.Namespace, device: Device) -> tuple[int, int]:
    """Bytes of the host store and of the arena: by default none where the mapped file is as good as pinned memory."""
    free = machine.free_memory() if device.pinned else 0
    store = int(free * STORE) if arguments.host_memory is None else arguments.host_memory
    arena = min(int(free * ARENA), ARENA_MOST) if arguments.arena is None else arguments.arena
    return store, arena


def _loop(engine: Engine, link: Link) -> None:
    """Drain the commands before each turn; wait for one only when no model has anything to do."""
    idle = True
    while True:
        command = link.receive(wait=idle)
        if command is None:
            idle = not engine.step()
            continue
        idle = False
        engine.handle(command)
        if isinstance(command, Shutdown):
            return


def _hello(device: Device, threads: int, ordinary: bool) -> Hello:
    free, total = device.memory()
    if (count := machine.nodes()) > 1:
        log.warning(
            "%d NUMA nodes: layers on the CPU run faster when bound to the device's (numactl --cpunodebind)", count
        )
    reason = ORDERED if ordinary else _fault()
    return Hello(device.name, device.description, total, free, threads, machine.library(), not reason, reason)


def _fault() -> str:
    """What keeps layers from being moved live in this process; empty if nothing does."""
    try:
        tensor.check()
    except EngineError as error:
        return str(error)
    return ""


def _beat(device: Device, engine: Engine, arena: Arena, watch: Watch, store: Store) -> Beat:
    operation, busy = watch.read()
    return Beat(
        busy=busy,
        operation=operation,
        held=arena.held,
        spilled=arena.spilled,
        device=engine.device_bytes,
        rss=_resident(),
        trouble=arena.trouble,
        pinned=arena.pinned,
        arena=arena.room,
        # others do not tell, or not to a second thread
        free=device.memory()[0] + pool(device).bytes if device.pinned else -1,
        stored=store.progress,
        filling=store.filling,
        worked=watch.worked,
    )


def _resident() -> int:
    """Bytes of this process's own; pages of mapped files are the page cache's, which takes them back as it likes.

    libllama maps a whole file whenever a shell is opened, and for that moment all of it counts as resident.
    """
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
