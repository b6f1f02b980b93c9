"""What a device has spent its time on: anything; evaluations; suspensions and resumptions, by their states' tier."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hotbunk.worker.protocol import Produced, Resumed, Suspended

Kind = Literal["suspend", "resume"]


@dataclass(slots=True)
class Sum:
    """States carried, their bytes, and the seconds it took."""

    count: int = 0
    bytes: int = 0
    seconds: float = 0.0


class Tally:
    """Adds up the worker's reports."""

    def __init__(self) -> None:
        self._sums: dict[Kind, defaultdict[str, Sum]] = {"suspend": defaultdict(Sum), "resume": defaultdict(Sum)}
        self._computed = self._worked = self._heard = 0.0

    def add(self, kind: Kind, report: Suspended | Resumed) -> None:
        """One more state has been carried."""
        total = self._sums[kind][report.tier]
        total.count += 1
        total.bytes += report.size
        total.seconds += report.seconds

    def step(self, report: Produced) -> None:
        """One more step has been evaluated; the worker does them one after the other."""
        self._computed += report.seconds

    def hear(self, worked: float) -> None:
        """What the worker has worked so far; a new one begins anew."""
        self._worked += worked - self._heard if worked >= self._heard else worked
        self._heard = worked

    def state(self) -> dict[str, Any]:
        """``computed`` and ``worked``, in seconds; ``suspends`` and ``resumes`` by tier; ready for JSON."""
        carried = {f"{kind}s": {tier: asdict(each) for tier, each in sums.items()} for kind, sums in self._sums.items()}
        return {"computed": self._computed, "worked": self._worked, **carried}
