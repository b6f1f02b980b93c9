"""Hold device memory until standard input ends: another program that uses the GPU.

python benchmarks/occupy.py --device CUDA0 --size 20GB
"""

from __future__ import annotations

import argparse
import sys

from hotbunk.llama.device import open_device
from hotbunk.llama.lib import Pointer, Size, base, bind
from hotbunk.units import parse_size

_CHUNK = 1 << 30
_alloc = bind(base, "ggml_backend_buft_alloc_buffer", Pointer, Pointer, Size)


def main() -> None:
    """Take it, say so, and wait."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=parse_size, required=True)
    arguments = parser.parse_args()
    device, left = open_device(arguments.device), arguments.size
    while left > 0 and _alloc(device.buffer_type, min(left, _CHUNK)):
        left -= _CHUNK
    print(f"holding {arguments.size - max(left, 0)} bytes", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
