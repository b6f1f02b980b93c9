"""Prometheus metrics: what requests met with, counted here; what the devices hold, read from the backend when asked.

Read from ``Backend.state()``, in bytes, seconds and tokens: ``devices`` [{name, budget, budget_configured, used, free,
foreign, pinned, held, spilled, computed, worked, stored {model: {bytes, total}}, suspends and resumes {tier: {count,
bytes, seconds}}}], ``models`` [{id, device, state, layers, device_bytes, predicted_bytes, reported_bytes, driver_bytes,
costs {kinds {kind: {points, and if there are any predicted_sum, measured_sum, error, drift {factor}}}}}], ``queue``
[{model}], ``sequences`` [{model, state}], ``counters`` {model: {loads, unloads, suspends, resumes, bytes_moved}}. What
is None there is left out.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from hotbunk.gateway.answer import Choice

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_WAITS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250)
_STEPS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)
_COUNTERS = {
    "loads": "Times the model was loaded",
    "unloads": "Times the model was unloaded",
    "suspends": "Sequences suspended",
    "resumes": "Sequences resumed",
    "bytes_moved": "Bytes of weights copied to the device",
}
_DEVICE_GAUGES = {
    "budget": "Bytes of the device that may be used now",
    "budget_configured": "Bytes that may be used if nobody else takes them",
    "used": "Bytes taken or promised",
    "free": "Bytes that the driver says are free",
    "foreign": "Bytes neither free nor in the models' buffers",
    "pinned": "Bytes of suspended sequences in pinned memory",
    "held": "Bytes of suspended sequences in ordinary memory",
    "spilled": "Bytes of suspended sequences on disk",
}
_STORED = {
    "bytes": ("stored_bytes", "Bytes of the model in the host store"),
    "total": ("stored_total_bytes", "Bytes that it will have there"),
}
_WORK = {
    "computed": ("hotbunk_device_computing_seconds", "Seconds of evaluations"),
    "worked": ("hotbunk_device_working_seconds", "Seconds in which an evaluation or a move was under way"),
}
_CARRIED = {
    "suspends": "Sequences suspended to the tier",
    "resumes": "Sequences resumed from the tier",
}
_MODEL_GAUGES = {
    "predicted_bytes": "Device bytes foretold at the last load",
    "reported_bytes": "Device bytes that libllama reported after it",
    "driver_bytes": "Bytes by which the driver's free memory fell with it",
}
_FORETOLD = {
    "predicted": "Seconds foretold of what was measured",
    "measured": "Seconds that it then took",
}
_MODEL = ("model",)


class Metrics:
    """All metrics of one server, in a registry of their own."""

    def __init__(self, state: Callable[[], dict[str, Any]]) -> None:
        """``state`` is ``Backend.state``."""
        self._registry = registry = CollectorRegistry()
        registry.register(_State(state))
        self._ttft = Histogram("hotbunk_ttft_seconds", "Time to first token", _MODEL, buckets=_WAITS, registry=registry)
        self._tpot = Histogram(
            "hotbunk_tpot_seconds", "Time per output token after the first", _MODEL, buckets=_STEPS, registry=registry
        )
        self._wait = Histogram(
            "hotbunk_queue_wait_seconds", "Time queued, loading excluded", _MODEL, buckets=_WAITS, registry=registry
        )
        self._requests = Counter(
            "hotbunk_requests", "Answers that ended, by outcome", ("model", "outcome"), registry=registry
        )
        self._refused = Counter("hotbunk_refused", "Requests answered with an error", ("status",), registry=registry)
        self._prompt = Counter("hotbunk_prompt_tokens", "Prompt tokens of answers", _MODEL, registry=registry)
        self._generated = Counter("hotbunk_generated_tokens", "Tokens generated", _MODEL, registry=registry)

    def ended(self, model: str, choice: Choice) -> None:
        """Count an answer that came to its end, whatever it was."""
        timings, count = choice.timings, choice.writer.count
        self._requests.labels(model, choice.outcome).inc()
        self._prompt.labels(model).inc(choice.prompt)
        self._generated.labels(model).inc(count)
        self._wait.labels(model).observe(timings.queued)
        if timings.first_token is not None:
            self._ttft.labels(model).observe(timings.first_token)
            if count > 1:
                self._tpot.labels(model).observe(max(0.0, choice.total - timings.first_token) / (count - 1))

    def refused(self, status: int) -> None:
        """Count a request that got an error for an answer."""
        self._refused.labels(str(status)).inc()

    def render(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)


class _State(Collector):
    """Turns the backend's state into metrics at the moment they are asked for."""

    def __init__(self, state: Callable[[], dict[str, Any]]) -> None:
        self._state = state

    def describe(self) -> list[Any]:
        return []  # else the registry would ask for the state just to learn the names

    def collect(self) -> Iterator[Any]:
        state = self._state()
        queue = Tally(entry["model"] for entry in state["queue"])
        models = state["models"]
        yield _gauge("queue_length", "Requests waiting", _MODEL, {(m["id"],): queue[m["id"]] for m in models})
        yield _gauge("residency_layers", "Layers on the device", _MODEL, {(m["id"],): m["layers"] for m in models})
        yield _gauge("model_bytes", "Bytes on the device", _MODEL, {(m["id"],): m["device_bytes"] for m in models})
        sequences = Tally((entry["model"], entry["state"]) for entry in state["sequences"])
        yield _gauge("sequences", "Sequences by state", ("model", "state"), sequences)
        for key, text in _MODEL_GAUGES.items():
            yield _gauge(f"model_{key}", text, _MODEL, {(m["id"],): m[key] for m in models})
        yield from _costs(
            {(m["id"], kind): c for m in models for kind, c in m["costs"]["kinds"].items() if c["points"]}
        )
        yield from _devices(state["devices"])
        yield from _counters(state["counters"])


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float | None]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"hotbunk_{name}", text, labels=labels)
    for key, value in values.items():
        if value is not None:
            family.add_metric(key, value)
    return family


def _costs(costs: Mapping[tuple[str, str], dict[str, Any]]) -> Iterator[Any]:
    labels = ("model", "kind")
    for key, text in _FORETOLD.items():
        family = CounterMetricFamily(f"hotbunk_cost_{key}_seconds", text, labels=labels)
        for each, values in costs.items():
            family.add_metric(each, values[f"{key}_sum"])
        yield family
    yield _gauge("cost_error", "Mean error of the last predictions", labels, {k: c["error"] for k, c in costs.items()})
    drifts = {each: values["drift"]["factor"] if values["drift"] else 1.0 for each, values in costs.items()}
    yield _gauge("cost_drift", "Times what it should take; 1 where it does", labels, drifts)


def _devices(devices: list[dict[str, Any]]) -> Iterator[Any]:
    for key, text in _DEVICE_GAUGES.items():
        yield _gauge(f"device_{key}_bytes", text, ("device",), {(d["name"],): d[key] for d in devices})
    for key, (name, text) in _STORED.items():
        stored = {(d["name"], model): each[key] for d in devices for model, each in d["stored"].items()}
        yield _gauge(name, text, ("device", "model"), stored)
    for key, (name, text) in _WORK.items():
        seconds = CounterMetricFamily(name, text, labels=("device",))
        for device in devices:
            seconds.add_metric((device["name"],), device[key])
        yield seconds
    yield from _tiers(devices)


def _tiers(devices: list[dict[str, Any]]) -> Iterator[CounterMetricFamily]:
    for kind, text in _CARRIED.items():
        for key in ("count", "bytes", "seconds"):
            family = CounterMetricFamily(f"hotbunk_tier_{kind}_{key}", f"{text}, {key}", labels=("device", "tier"))
            for device in devices:
                for tier, sums in device[kind].items():
                    family.add_metric((device["name"], tier), sums[key])
            yield family


def _counters(counters: dict[str, dict[str, float]]) -> Iterator[CounterMetricFamily]:
    for name, text in _COUNTERS.items():
        family = CounterMetricFamily(f"hotbunk_{name}", text, labels=_MODEL)
        for model, values in counters.items():
            family.add_metric((model,), values.get(name, 0))
        yield family
