"""The roofline of a machine: how fast its device and its CPU read weights and multiply with them, and the bus.

``python -m hotbunk.llama.roofline --device CUDA0 --threads 15`` prints it as JSON. Each rate is the best of a few
evaluations of one libggml graph, on memory that no cache holds: products of weights with one vector (reading), with
512 (multiplying), attention of one token to a KV cache (attending), chains of tiny operations (launching). All of them
are gone through twice, so that a machine that is busy for a moment does not count as a slow one.
"""

from __future__ import annotations

import argparse
import ctypes as C
import json
import sys
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from hotbunk.errors import EngineError, HotbunkError
from hotbunk.llama.bus import measure
from hotbunk.llama.device import Device, open_device
from hotbunk.llama.lib import Pointer, Size, base, bind
from hotbunk.llama.pinned import Block
from hotbunk.llama.scratch import scratch

__all__ = ["roofline"]

TYPES = {"F16": 1, "BF16": 30, "Q8_0": 8, "Q6_K": 14, "Q4_K": 12, "Q4_0": 2}
"""The types measured, with their numbers in ``enum ggml_type``; the others are taken for the nearest."""
_F32 = 0
_WIDTH, _COLUMNS, _STREAMED = 4096, 512, 32
_HEADS, _KV_HEADS, _HEAD, _CACHED = 32, 8, 128, 4096  # attention as 8B models have it, to so many tokens
_CHAIN = 200  # tiny operations in a row
_PASSES, _ROUNDS = 2, 2
_DESCRIBED = 1 << 20  # bytes that a graph's description may take
_FILL = 0x11  # as bytes of any type it makes small, ordinary numbers


_matrix = bind(base, "ggml_new_tensor_2d", Pointer, Pointer, C.c_int, C.c_int64, C.c_int64)
_mul_mat = bind(base, "ggml_mul_mat", Pointer, Pointer, Pointer, Pointer)
_tensor = bind(base, "ggml_new_tensor_3d", Pointer, Pointer, C.c_int, *[C.c_int64] * 3)
_permute = bind(base, "ggml_permute", Pointer, Pointer, Pointer, *[C.c_int] * 4)
_attention = bind(base, "ggml_flash_attn_ext", Pointer, *[Pointer] * 5, *[C.c_float] * 3)
_scale = bind(base, "ggml_scale", Pointer, Pointer, Pointer, C.c_float)
_nbytes = bind(base, "ggml_nbytes", Size, Pointer)
_graph = bind(base, "ggml_new_graph", Pointer, Pointer)
_expand = bind(base, "ggml_build_forward_expand", None, Pointer, Pointer)
_backend = bind(base, "ggml_backend_dev_init", Pointer, Pointer, C.c_char_p)
_backend_free = bind(base, "ggml_backend_free", None, Pointer)
_alloc = bind(base, "ggml_backend_alloc_ctx_tensors", Pointer, Pointer, Pointer)
_clear = bind(base, "ggml_backend_buffer_clear", None, Pointer, C.c_uint8)
_buffer_free = bind(base, "ggml_backend_buffer_free", None, Pointer)
_compute = bind(base, "ggml_backend_graph_compute", C.c_int, Pointer, Pointer)
_fetch = bind(base, "ggml_backend_tensor_get", None, Pointer, Pointer, Size, Size)
_supports = bind(base, "ggml_backend_dev_supports_op", C.c_bool, Pointer, Pointer)
_offloads = bind(base, "ggml_backend_dev_offload_op", C.c_bool, Pointer, Pointer)
_registry = bind(base, "ggml_backend_dev_backend_reg", Pointer, Pointer)
_address = bind(base, "ggml_backend_reg_get_proc_address", Pointer, Pointer, C.c_char_p)


@dataclass(frozen=True, slots=True)
class _Extent:
    """How much to read (bytes), how many rows to multiply with, and how often: enough to time, little to wait for."""

    read: int
    rows: int
    times: int
    bus: int


_EXTENTS = {
    "gpu": _Extent(1 << 30, 4096, 8, 1 << 28),
    "cpu": _Extent(1 << 28, 1024, 1, 1 << 26),
    "quick": _Extent(1 << 26, 256, 1, 1 << 24),
}


class _Bench:
    """A device's backend, to time graphs on."""

    def __init__(self, device: Device, threads: int, extent: _Extent) -> None:
        self._device, self._extent = device, extent
        self._backend = _backend(device.handle, None)
        if not self._backend:
            raise EngineError(f"{device.name} cannot be used for computing")
        if found := _address(_registry(device.handle), b"ggml_backend_set_n_threads"):
            C.CFUNCTYPE(None, Pointer, C.c_int)(found)(self._backend, threads)

    def side(self) -> dict[str, Any]:
        """Rates of this side, as ``costs.roofline.Side`` has them: of each the best of all passes."""
        passes = [self._rates() for _ in range(_PASSES)]
        best = {name: min(rates[name] for rates in passes) for name in ("launch", "overhead")}
        for name in ("read", "multiply"):
            best[name] = {kind: max(rates[name][kind] for rates in passes) for kind in passes[0][name]}
        return {**best, "attend": max(rates["attend"] for rates in passes)}

    def _rates(self) -> dict[str, Any]:
        kinds = {name: kind for name, kind in TYPES.items() if self._can(kind)}
        one, many = self._chain(1), self._chain(_CHAIN)
        return {
            "read": {name: self._reading(kind) for name, kind in kinds.items()},
            "multiply": {name: self._multiplying(kind) for name, kind in kinds.items()},
            "attend": self._attending(),
            "launch": max(many - one, 1e-9) / (_CHAIN - 1),
            "overhead": one,
        }

    def streams(self) -> bool:
        """Whether the device would take over products of the host's weights with a batch."""
        with scratch(_DESCRIBED) as context:
            return bool(_offloads(self._device.handle, _product(context, TYPES["F16"], 64, _STREAMED)))

    def close(self) -> None:
        _backend_free(self._backend)

    def _can(self, kind: int) -> bool:
        with scratch(_DESCRIBED) as context:
            return bool(_supports(self._device.handle, _product(context, kind, 64, 1)))

    def _reading(self, kind: int) -> float:
        """Bytes a second."""
        with scratch(_DESCRIBED) as context:
            rows = self._extent.rows
            size = _nbytes(_matrix(context, kind, _WIDTH, rows))
            count = max(1, self._extent.read // size)
        with scratch(_DESCRIBED) as context:
            nodes = [_product(context, kind, rows, 1) for _ in range(count)]
            return float(size * count / self._time(context, nodes))

    def _multiplying(self, kind: int) -> float:
        """Multiplications a second."""
        with scratch(_DESCRIBED) as context:
            rows, times = self._extent.rows, self._extent.times
            nodes = [_product(context, kind, rows, _COLUMNS) for _ in range(times)]
            return _WIDTH * rows * _COLUMNS * times / self._time(context, nodes)

    def _attending(self) -> float:
        """Multiplications a second; where there is no such operation, as fast as F16 weights are read."""
        with scratch(_DESCRIBED) as context:
            supported = _supports(self._device.handle, _attend(context))
        if not supported:
            return self._reading(TYPES["F16"]) / 2
        size = 2 * 2 * _KV_HEADS * _HEAD * _CACHED
        count = max(1, self._extent.read // size // 8)
        with scratch(_DESCRIBED) as context:
            pairs = 2 * _HEADS * _HEAD * _CACHED * count
            return pairs / self._time(context, [_attend(context) for _ in range(count)])

    def _chain(self, length: int) -> float:
        with scratch(_DESCRIBED) as context:
            node = _matrix(context, _F32, 64, 1)
            for _ in range(length):
                node = _scale(context, node, 1.0)
            return self._time(context, [node])

    def _time(self, context: int, nodes: list[int]) -> float:
        """Seconds of the fastest evaluation; the first ones only warm up."""
        graph = _graph(context)
        for node in nodes:
            _expand(graph, node)
        buffer = _alloc(context, self._backend)
        if not buffer:
            raise EngineError(f"{self._device.name} has no room for the matrices that its speed is measured with")
        try:
            _clear(buffer, _FILL)
            return min(self._lap(graph, nodes[-1]) for _ in range(_ROUNDS + 2))
        finally:
            _buffer_free(buffer)

    def _lap(self, graph: int, last: int) -> float:
        result, began = C.c_float(), perf_counter()
        if _compute(self._backend, graph) != 0:
            raise EngineError(f"{self._device.name} could not compute a matrix product")
        _fetch(last, C.addressof(result), 0, C.sizeof(result))  # only that makes an RPC device wait until it is done
        return perf_counter() - began


def roofline(device: Device, threads: int, quick: bool = False) -> dict[str, Any]:
    """Measure; the fields are those of ``costs.roofline.Roofline``.

    Raises:
        EngineError: the device cannot compute, or has no room for some hundred megabytes.
    """
    extent = _EXTENTS["quick" if quick else "gpu" if device.pinned else "cpu"]
    there = _Bench(device, threads, extent)
    here = there if device.is_cpu else _Bench(open_device("cpu"), threads, _EXTENTS["quick" if quick else "cpu"])
    try:
        bus = measure(device, extent.bus)
        sides = {"device": there.side(), "streams": not device.is_cpu and there.streams()}
        host = sides["device"] if device.is_cpu else here.side()
    finally:
        for bench in {there, here}:
            bench.close()
    rates = {name: getattr(bus, name) for name in ("h2d_pinned", "d2h_pinned", "h2d_pageable", "d2h_pageable")}
    pin = _pinning(device, extent.bus) if device.pinned else None
    return {**sides, "host": host, **rates, "pin": pin, "quick": quick}


def _pinning(device: Device, size: int) -> float:
    """Bytes a second of filling memory and locking it."""
    block = Block(device, size)
    try:
        began = perf_counter()
        block.bytes.fill(_FILL)
        block.pin(0, size)
        return size / (perf_counter() - began)
    finally:
        block.free()


def _product(context: int, kind: int, rows: int, columns: int) -> int:
    """Weights of a type, ``rows`` by ``_WIDTH``, times so many vectors."""
    product: int = _mul_mat(context, _matrix(context, kind, _WIDTH, rows), _matrix(context, _F32, _WIDTH, columns))
    return product


def _attend(context: int) -> int:
    """One token's attention to a KV cache of its own, in which each token's heads lie side by side, as libllama's do.

    Heads that lie one after the other would be read faster by a CPU, and without a mask a GPU takes another kernel.
    """
    query = _tensor(context, _F32, _HEAD, 1, _HEADS)
    cached = (_tensor(context, TYPES["F16"], _HEAD, _KV_HEADS, _CACHED) for _ in range(2))
    keys, values = (_permute(context, each, 0, 2, 1, 3) for each in cached)
    mask = _matrix(context, TYPES["F16"], _CACHED, 1)
    node: int = _attention(context, query, keys, values, mask, _HEAD**-0.5, 0.0, 0.0)
    return node


def main() -> None:
    """Read the command line, measure, and print JSON."""
    parser = argparse.ArgumentParser(prog="python -m hotbunk.llama.roofline", description="Measure a machine.")
    parser.add_argument("--device", default="auto", help="auto, cpu, a name libllama gives, or rpc:HOST:PORT")
    parser.add_argument("--threads", type=int, required=True, help="for the CPU")
    parser.add_argument("--quick", action="store_true", help="less precise, in a second or two")
    options = parser.parse_args()
    try:
        print(json.dumps(roofline(open_device(options.device), options.threads, options.quick)))
    except HotbunkError as error:
        sys.exit(f"hotbunk: error: {error}")


if __name__ == "__main__":
    main()
