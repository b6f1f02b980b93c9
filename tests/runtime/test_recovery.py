"""A worker that dies or hangs takes no request with it."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hotbunk.runtime import Runtime
from hotbunk.worker import hang
from tests.runtime.rig import PROMPT, finish, job, model, run, running, settings, some, until


def pid(runtime: Runtime) -> int:
    return int(runtime.state()["devices"][0]["pid"])


def test_eight_streams_outlive_their_worker(smollm2: Path, gemma3: Path) -> None:
    async def test() -> None:
        async with running(settings(smollm2, gemma3)) as runtime:
            prompts = [[*PROMPT, extra] for extra in range(1000, 1008)]
            jobs = [runtime.submit(job("small", 60, prompt)) for prompt in prompts]
            streams = [aiter(j) for j in jobs]
            taken = await asyncio.gather(*(some(s, 10) for s in streams))
            os.kill(pid(runtime), signal.SIGKILL)
            for before, stream in zip(taken, streams, strict=True):
                before += [t.token async for group in stream for t in group]
            assert [len(tokens) for tokens in taken] == [60] * 8
            assert all(j.finish_reason == "length" and j.timings.recoveries == 1 for j in jobs)
            assert runtime.state()["devices"][0]["restarts"] == 1

    run(test)


def test_suspended_and_waiting_requests_outlive_it_too(smollm2: Path, gemma3: Path) -> None:
    async def test() -> None:
        async with running(settings(smollm2, gemma3, policy="timeslice")) as runtime:
            jobs = [runtime.submit(job(name, 120)) for name in ("small", "large", "small", "large")]
            finishing = [asyncio.create_task(finish(j)) for j in jobs]
            await until(lambda: any(s["state"] == "suspended" for s in runtime.state()["sequences"]))
            os.kill(pid(runtime), signal.SIGKILL)
            assert [len(tokens) for tokens in await asyncio.gather(*finishing)] == [120] * 4

    run(test)


def test_a_hanging_worker_is_replaced(smollm2: Path, gemma3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hang, "SILENCE", 3.0)

    async def test() -> None:
        async with running(settings(smollm2, gemma3)) as runtime:
            stream = aiter(runtime.submit(job("small", 40)))
            taken = await some(stream, 5)
            os.kill(pid(runtime), signal.SIGSTOP)
            taken += [t.token async for group in stream for t in group]
            assert len(taken) == 40

    run(test)


def test_a_device_with_less_memory_than_it_has_serves_with_fewer_layers(
    smollm2: Path, gemma3: Path, environment: dict[str, str]
) -> None:
    async def test(device: str, pid: int) -> None:
        async with running(settings(smollm2, gemma3, device=device)) as runtime:
            status = Path(f"/proc/{pid}/status").read_text()
            taken = int(status.split("VmSize:")[1].split()[0]) << 10
            resource.prlimit(pid, resource.RLIMIT_AS, (taken + (100 << 20), resource.RLIM_INFINITY))
            assert len(await finish(runtime.submit(job("small", 8)))) == 8
            state = model(runtime, "small")
            assert 0 < state["layers"] < state["layers_total"]
            assert state["problem"] is None
            assert runtime.state()["decisions"][0]["failed"]

    command = [sys.executable, "-m", "hotbunk.llama.rpc", "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as server:
        assert server.stdout
        device = f"rpc:{server.stdout.readline().split()[-1].decode()}"
        try:
            run(lambda: test(device, server.pid))
        finally:
            server.kill()


def test_a_request_that_kills_its_workers_is_given_up(smollm2: Path, gemma3: Path) -> None:
    async def test() -> None:
        async with running(settings(smollm2, gemma3)) as runtime:
            cursed = runtime.submit(job("small", 500))
            stream = aiter(cursed)
            for _ in range(3):
                await some(stream, 1)
                os.kill(pid(runtime), signal.SIGKILL)
                gone = pid(runtime)
                await until(lambda gone=gone: runtime.state()["devices"][0]["up"] and pid(runtime) != gone)  # type: ignore[misc]
            with pytest.raises(Exception, match="lost 3 times"):
                await finish_rest(stream)
            assert len(await finish(runtime.submit(job("small", 3)))) == 3

    async def finish_rest(stream: object) -> None:
        async for _ in stream:  # type: ignore[attr-defined]
            pass

    run(test)
