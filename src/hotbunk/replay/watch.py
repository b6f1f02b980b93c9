"""What hotbunk shows of itself while requests run, as usage of its devices and as stays of its models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf, isnan, nan
from typing import Any

from hotbunk.outcomes import Stay, Usage

__all__ = ["UNKNOWN", "Watch"]

State = Mapping[str, Any]
_Key = tuple[Any, ...]
_MOVES, _CARRIES = ("load", "resize", "unload"), ("suspend", "resume")
_BESIDE = "load", "resize"  # while their bytes are on the way, other moves go on
_COMING, _LEFT = ("loading", "resizing"), ("absent", "unusable")
UNKNOWN = Usage(**dict.fromkeys(Usage.__slots__, nan))
"""Of a server that does not say what it does."""


@dataclass
class Watch:
    """Is told states of ``/api/state``, the first one as it was before the run; times are seconds of the run.

    Counters are exact. When models came and went, and how long moves took, is taken from the recent decisions; if more
    are made between two states than these hold, that is not known. How much of a model was there is what the states
    show of it.

    ``epoch`` is the Unix time at which the run began. A server's clock that does not agree is corrected: a decision is
    no later than the first state that has it, and no earlier than the one before.
    """

    before: State
    epoch: float = 0.0
    _old: set[_Key] = field(default_factory=set)
    _last: set[_Key] = field(default_factory=set)
    _moves: dict[_Key, State] = field(default_factory=dict)
    _seen: dict[str, list[tuple[float, State]]] = field(default_factory=dict)
    _ahead: tuple[float, float] = (-inf, inf)  # the least and the most that the server's clock may be
    _heard: float = 0.0
    _missed: bool = False

    def __post_init__(self) -> None:
        self._old = self._last = {_key(note) for note in self.before["decisions"]}
        self.hear(self.before, 0.0)

    def hear(self, state: State, now: float) -> None:
        """How it is now."""
        notes = {_key(note): note for note in state["decisions"]}
        self._missed |= bool(self._last) and not self._last & notes.keys()
        for at in (notes[key]["time"] - self.epoch for key in notes.keys() - self._last):
            self._ahead = max(self._ahead[0], at - now), min(self._ahead[1], at - self._heard)
        self._last, self._heard = set(notes), now
        self._moves |= {key: notes[key] for key in self._last - self._old if notes[key]["action"] in _MOVES + _CARRIES}
        for model in state["models"]:
            if model["state"] not in _LEFT:
                self._seen.setdefault(model["id"], []).append((now, model))

    def stays(self, now: float) -> list[Stay]:
        """Who was there until now."""
        least, most = self._ahead
        ahead = 0.0 if least <= 0 <= most else (least + most) / 2
        found = [stay for model in self.before["models"] for stay in self._stays(model, ahead, now)]
        return sorted(found, key=lambda stay: stay.begin)

    def usage(self, after: State) -> Usage:
        """What was done between the first state and ``after``."""
        counts = {
            name: _counted(after, name) - _counted(self.before, name)
            for name in ("loads", "unloads", "suspends", "bytes_moved")
        }
        done = [note for note in self._moves.values() if note["seconds"] is not None]
        resizes = nan if self._missed else sum(note["action"] == "resize" for note in done)
        return Usage(
            loads=counts["loads"] - resizes,  # which it counts too
            unloads=counts["unloads"],
            resizes=resizes,
            suspends=counts["suspends"],
            moved=counts["bytes_moved"],
            carried=_carried(after) - _carried(self.before),
            computing=_computed(after) - _computed(self.before),
            moving=nan if self._missed else _moving(done),
            busy=_worked(after) - _worked(self.before),
            decisions=nan,
        )

    def _stays(self, model: State, ahead: float, now: float) -> Iterator[Stay]:
        """Those of one model, move by move."""
        name = model["id"]
        there = model["state"] not in _LEFT
        begin, ready = 0.0, 0.0 if model["state"] not in _COMING else nan
        for note in sorted(self._moves.values(), key=lambda note: float(note["time"])):
            if note["model"] != name or note["action"] in _CARRIES or "failed" in note:
                continue
            at = note["time"] - self.epoch - ahead
            over = nan if note["seconds"] is None else at + note["seconds"]
            leaves = note["action"] == "unload"
            if there:
                yield self._stay(model, begin, ready, at if isnan(over) or not leaves else over)
            there, begin, ready = not leaves, at, over
        if there:
            yield self._stay(model, begin, ready, now)

    def _stay(self, model: State, begin: float, ready: float, end: float) -> Stay:
        """With what was seen of the model meanwhile; else as it was seen last, or as it is planned."""
        name, of = model["id"], model["layers_total"]
        for at, seen in reversed(self._seen.get(name, [])):
            if at <= end:
                return Stay(name, begin, ready, end, seen["layers"], of, seen["device_bytes"])
        planned = model["planned"] or {"layers": 0, "device": {"total": 0}}
        return Stay(name, begin, ready, end, planned["layers"], of, planned["device"]["total"])


def _key(note: State) -> _Key:
    return note["time"], note["action"], note["model"], note.get("sequence")


def _counted(state: State, name: str) -> int:
    return sum(counts.get(name, 0) for counts in state["counters"].values())


def _moving(notes: Iterable[State]) -> float:
    """Seconds in which at least one was under way; what follows an unload, or a state on its way, waits for its end."""
    seconds, free, counted = 0.0, -inf, -inf
    for note in sorted(notes, key=lambda note: float(note["time"])):
        begin = max(note["time"], free)
        end = begin + note["seconds"]
        free = end if note["action"] not in _BESIDE else free
        seconds += max(0.0, end - max(begin, counted))
        counted = max(counted, end)
    return seconds


def _computed(state: State) -> float:
    """Seconds of evaluations, on all devices."""
    return sum(float(device.get("computed", nan)) for device in state["devices"])


def _worked(state: State) -> float:
    """Seconds in which the device was at work, as of half a second ago; of several devices none can be told for all."""
    return float(state["devices"][0].get("worked", nan)) if len(state["devices"]) == 1 else nan


def _carried(state: State) -> int:
    """Bytes of suspended states, out and back."""
    tallies = (device.get(name, {}) for device in state["devices"] for name in ("suspends", "resumes"))
    return sum(tier["bytes"] for tally in tallies for tier in tally.values())
