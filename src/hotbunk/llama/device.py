"""Devices: what libllama can put weights on in this process."""

from __future__ import annotations

import ctypes as C
import socket
import threading
from dataclasses import dataclass, field
from functools import cache

from hotbunk.errors import HotbunkError
from hotbunk.llama.lib import Pointer, Size, base, bind, ggml, library

__all__ = ["Device", "open_device"]

_CPU, _GPU, _IGPU = 0, 1, 2  # enum ggml_backend_dev_type
_PROBE = 5.0  # seconds to wait for an RPC server to answer the telephone
_GREETING = 10.0  # seconds that it may take to say its name

_count = bind(ggml, "ggml_backend_dev_count", Size)
_get = bind(ggml, "ggml_backend_dev_get", Pointer, Size)
_by_type = bind(ggml, "ggml_backend_dev_by_type", Pointer, C.c_int)
_register = bind(ggml, "ggml_backend_register", None, Pointer)
_name = bind(base, "ggml_backend_dev_name", C.c_char_p, Pointer)
_description = bind(base, "ggml_backend_dev_description", C.c_char_p, Pointer)
_type = bind(base, "ggml_backend_dev_type", C.c_int, Pointer)
_memory = bind(base, "ggml_backend_dev_memory", None, Pointer, C.POINTER(Size), C.POINTER(Size))
_buffer_type = bind(base, "ggml_backend_dev_buffer_type", Pointer, Pointer)
_host_buffer_type = bind(base, "ggml_backend_dev_host_buffer_type", Pointer, Pointer)
_first_of = bind(base, "ggml_backend_reg_dev_get", Pointer, Pointer, Size)


@dataclass(frozen=True)
class Device:
    """One device of this process. ``pinned``: it has page-locked host memory and copies from it asynchronously.

    ``handle`` and ``buffer_type`` are libggml's addresses of the device and of the kind of memory it has; ``host_type``
    is that of its pinned host memory, 0 where it has none.
    """

    spec: str
    name: str
    description: str
    is_cpu: bool
    pinned: bool
    handle: int = field(repr=False)
    buffer_type: int = field(repr=False)
    host_type: int = field(repr=False)

    def memory(self) -> tuple[int, int]:
        """Free and total bytes, as the driver says."""
        free, total = Size(), Size()
        _memory(self.handle, C.byref(free), C.byref(total))
        return free.value, total.value


@cache
def open_device(spec: str) -> Device:
    """Find a device: ``auto`` (a GPU, else the CPU), ``cpu``, a name libllama gives (``CUDA0``), ``rpc:HOST:PORT``.

    Raises:
        HotbunkError: there is no such device here, nobody listens at the address, or they listen to somebody else.
    """
    if spec == "auto":
        return _describe(spec, _by_type(_GPU) or _by_type(_IGPU) or _by_type(_CPU))
    if spec == "cpu":
        return _describe(spec, _by_type(_CPU))
    if spec.startswith("rpc:"):
        return _describe(spec, _connect(spec))
    known = {_name(_get(i)).decode(): _get(i) for i in range(_count())}
    if spec not in known:
        names = ", ".join(["auto", "cpu", *(name for name in known if name != "CPU"), "rpc:HOST:PORT"])
        raise HotbunkError(f"no device '{spec}' here; known devices: {names}")
    return _describe(spec, known[spec])


def _describe(spec: str, handle: int) -> Device:
    return Device(
        spec=spec,
        name=_name(handle).decode(),
        description=_description(handle).decode(),
        is_cpu=_type(handle) == _CPU,
        pinned=bool(_host_buffer_type(handle)),
        handle=handle,
        buffer_type=_buffer_type(handle),
        host_type=_host_buffer_type(handle) or 0,
    )


def _connect(spec: str) -> int:
    """Make libllama know the RPC server; probed first, since an unreachable one would abort the process."""
    host, _, port = spec.removeprefix("rpc:").rpartition(":")
    if not host or not port.isdecimal():
        raise HotbunkError(f"device '{spec}' has no address; write rpc:HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=_PROBE).close()
    except (OSError, OverflowError) as error:
        raise HotbunkError(f"device '{spec}': nobody answers there ({error}); start its RPC server first") from error
    try:
        add_server = bind(library("ggml-rpc"), "ggml_backend_rpc_add_server", Pointer, C.c_char_p)
    except OSError as error:
        raise HotbunkError(f"device '{spec}': this libllama has no RPC; build it with -DGGML_RPC=ON") from error
    found = list[int | None]()
    # in a thread that can be left behind: libggml waits for ever for a server that is busy with another client
    greeting = threading.Thread(target=lambda: found.append(add_server(f"{host}:{port}".encode())), daemon=True)
    greeting.start()
    greeting.join(_GREETING)
    if not found:
        raise HotbunkError(
            f"device '{spec}': it takes connections but has said nothing for {_GREETING:g} s; an RPC server serves one "
            "client at a time, so end the process that uses it, or start another server"
        )
    if not found[0]:
        raise HotbunkError(f"device '{spec}': what answers there is not an RPC server of this libllama's version")
    _register(found[0])
    return int(_first_of(found[0], 0))
