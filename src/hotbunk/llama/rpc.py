"""An RPC device: ``python -m hotbunk.llama.rpc --port N [--threads T]`` serves this machine's CPU on loopback.

It prints one line, ``listening on 127.0.0.1:PORT``, once it takes connections; what libggml says goes to stderr. RPC
has no authentication, hence loopback only. One client at a time; what it allocated is freed when it goes.
"""

from __future__ import annotations

import argparse
import ctypes as C
import os
import socket
import sys
import threading
import time

from hotbunk.errors import HotbunkError
from hotbunk.llama.device import open_device
from hotbunk.llama.lib import Pointer, Size, bind, library

_HOST = "127.0.0.1"


def serve(port: int, threads: int) -> None:
    """Serve until killed; port 0 takes a free one.

    Raises:
        HotbunkError: the port cannot be had.
    """
    port = _claim(port)
    start = bind(
        library("ggml-rpc"),
        "ggml_backend_rpc_start_server",
        *(None, C.c_char_p, C.c_char_p, Size, Size, C.POINTER(Pointer)),
    )
    out = os.dup(1)
    os.dup2(2, 1)  # libggml prints where our one line shall stand alone
    threading.Thread(target=_announce, args=(port, out), daemon=True).start()
    devices = (Pointer * 1)(open_device("cpu").handle)
    start(f"{_HOST}:{port}".encode(), None, threads, 1, devices)


def _claim(port: int) -> int:
    try:
        with socket.create_server((_HOST, port)) as probe:
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as error:
        raise HotbunkError(f"cannot listen on {_HOST}:{port}: {error}") from error


def _announce(port: int, out: int) -> None:
    """Print the line when a connection succeeds: libggml does not tell when it listens."""
    while not _answers(port):
        time.sleep(0.01)
    os.write(out, f"listening on {_HOST}:{port}\n".encode())


def _answers(port: int) -> bool:
    try:
        socket.create_connection((_HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m hotbunk.llama.rpc", description="Serve this CPU as an RPC device.")
    parser.add_argument("--port", type=int, default=0, help="TCP port on loopback; 0 takes a free one")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads to compute with")
    options = parser.parse_args()
    try:
        serve(options.port, options.threads)
    except HotbunkError as error:
        sys.exit(f"hotbunk: error: {error}")
    sys.exit("hotbunk: error: the RPC server ended; libggml's reason is above")


if __name__ == "__main__":
    main()
