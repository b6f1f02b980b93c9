"""What one device shows of itself in ``/api/state``, ready for JSON. Sizes are bytes, times seconds."""

from typing import Any

from hotbunk.runtime.catalog import waited
from hotbunk.runtime.generation import LiveGeneration
from hotbunk.runtime.headroom import Headroom
from hotbunk.runtime.process import Worker
from hotbunk.runtime.tally import Tally
from hotbunk.scheduler import Snapshot
from hotbunk.worker.protocol import Beat, Hello

_SILENT = Beat(busy=0.0, operation="", held=0, spilled=0, device=0, rss=0)
_UNKNOWN = Hello("", "", 0, 0, 0, "", False)


def device(
    spec: str, worker: Worker, restarts: int, snapshot: Snapshot, headroom: Headroom | None, tally: Tally
) -> dict[str, Any]:
    """The device and its worker; ``free`` and ``foreign`` are None where the driver does not tell.

    ``graphs``: whether the worker may record CUDA graphs, if the environment has not forbidden it anyway.
    """
    hello, beat = worker.hello or _UNKNOWN, worker.beat or _SILENT
    return {
        # to its worker every RPC device is the first one
        "name": spec if spec.startswith("rpc:") else hello.device or spec,
        "spec": spec,
        "description": hello.description,
        "up": snapshot.up,
        "pid": worker.pid,
        "restarts": restarts,
        "graphs": worker.graphs,
        "threads": hello.threads,
        "moves_live": hello.moves,
        "budget": snapshot.budget,
        "budget_configured": headroom.configured if headroom else snapshot.budget,
        "used": snapshot.used,
        "reported": beat.device,
        "free": beat.free if beat.free >= 0 else None,
        "foreign": headroom.foreign if headroom else None,
        "memory_total": hello.memory_total,
        "pinned": beat.pinned,
        "held": beat.held,
        "spilled": beat.spilled,
        "stored": {model: {"bytes": done, "total": total} for model, (done, total) in beat.stored.items()},
        "filling": beat.filling,
        **tally.state(),
        "rss": beat.rss,
        "trouble": beat.trouble,
    }


def queue(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Who waits for what."""
    return [
        {"sequence": s.id, "model": m.id, "waited": waited(s.since), "suspended": s.held}
        for m in snapshot.models.values()
        for s in m.queue
    ]


def sequence(job: LiveGeneration, snapshot: Snapshot) -> dict[str, Any]:
    """A request on its way."""
    model = snapshot.models.get(job.job.model)
    running = model is not None and any(s.id == job.number for s in model.running)
    return {
        "sequence": job.number,
        "model": job.job.model,
        "state": "running" if running else "suspended" if job.working else "waiting",
        "prompt_tokens": len(job.job.prompt),
        "generated_tokens": len(job.generated),
        "age": waited(job.arrived),
        "preemptions": job.timings.preemptions,
    }
