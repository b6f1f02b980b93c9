"""How much device memory may be used while other programs use the device too.

Symbols (bytes), all from one beat of the worker, or from its hello, when nothing of ours is loaded:

    usable = free + ours        free: as the driver says; ours: what loaded models take, as libllama reports it
    budget = min(configured, usable - reserve)

``reserve`` is for what libllama does not report and has not taken yet: allocations rounded up, workspaces of matrix
products, code that the driver loads at its first use. It is 2 % of what was free at the start, 1.6 GB of 80 GB; what
has been taken is no longer in ``usable``, so the reserve need not grow with use.

Driver and libllama are asked at different moments, so a beat tells the truth only when nothing moved meanwhile: a load,
an unload or a resize was neither under way when it came nor reported since the beat before. The latter shows in
``ours``, which therefore has to be the same in two beats. The budget falls with the first such beat, and rises once a
larger one has been possible for two seconds. Less than 1 % of it, or than 256 MiB if that is less, is no change.
"""

from hotbunk.worker.protocol import Beat, Hello

__all__ = ["Headroom"]

RESERVE = 0.02
SLACK_SHARE, SLACK_MOST = 0.01, 256 << 20
STEADY = 4
"""Beats in a row, at two a second, that must allow more before the budget rises."""


class Headroom:
    """The budget of one device through one life of its worker.

    Attributes:
        configured: what the budget is at the most.
        budget: what may be used now.
        foreign: bytes neither free nor in our models' buffers: others', and the driver's own. None: untold as yet.
    """

    def __init__(self, configured: int, hello: Hello) -> None:
        self.configured = configured
        self.foreign: int | None = None
        self._total = hello.memory_total
        self._reserve = int(hello.memory_free * RESERVE)
        self._slack = min(int(configured * SLACK_SHARE), SLACK_MOST)
        self.budget = self._allowed(hello.memory_free)
        self._ours: int | None = None
        self._more: list[int] = []

    def hear(self, beat: Beat, still: bool) -> bool:
        """Whether the beat tells how much is usable; ``still``: nothing is on its way to or from the device."""
        known, self._ours = self._ours, beat.device if still else None
        if beat.free < 0 or not still or known != beat.device:
            return False
        self.foreign = max(0, self._total - beat.free - beat.device)
        self._follow(self._allowed(beat.free + beat.device))
        return True

    def _allowed(self, usable: int) -> int:
        return max(0, min(self.configured, usable - self._reserve))

    def _follow(self, allowed: int) -> None:
        more = allowed > self.budget + self._slack or allowed == self.configured > self.budget
        self._more = [*self._more, allowed] if more else []
        if allowed < self.budget - self._slack:
            self.budget = allowed
        elif len(self._more) == STEADY:
            self.budget, self._more = min(self._more), []
