"""Devices are found by name, and what is not there is said so."""

import socket
import subprocess
import sys

import pytest

from hotbunk.errors import HotbunkError
from hotbunk.llama.device import open_device


def test_the_cpu() -> None:
    cpu = open_device("cpu")
    free, total = cpu.memory()
    assert cpu.is_cpu
    assert cpu.spec == "cpu"
    assert 0 < free <= total


def test_a_device_by_address(rpc_device: str) -> None:
    there = open_device(rpc_device)
    assert not there.is_cpu
    assert there.memory()[1] > 0
    assert open_device(rpc_device) is there


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("CUDA7", "no device 'CUDA7' here; known devices: auto, cpu"),
        ("rpc:127.0.0.1:1", "nobody answers there"),
        ("rpc:nowhere", "write rpc:HOST:PORT"),
        ("rpc:127.0.0.1:many", "write rpc:HOST:PORT"),
    ],
)
def test_an_unknown_device_is_refused(spec: str, reason: str) -> None:
    with pytest.raises(HotbunkError, match=reason):
        open_device(spec)


def test_a_server_busy_with_another_client_is_said(own_rpc_device: str) -> None:
    host, port = own_rpc_device.removeprefix("rpc:").split(":")
    opening = f"from hotbunk.llama import device; device._GREETING = 0.5; device.open_device({own_rpc_device!r})"
    with socket.create_connection((host, int(port))):
        ended = subprocess.run([sys.executable, "-c", opening], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "an RPC server serves one client at a time" in ended.stderr


def test_a_port_in_use_is_said(rpc_device: str) -> None:
    port = rpc_device.rpartition(":")[2]
    ended = subprocess.run(
        [sys.executable, "-m", "hotbunk.llama.rpc", "--port", port], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
