"""The outbox: reports on their way up, in the order in which they were made."""

from __future__ import annotations

from collections.abc import Callable

from hotbunk.worker.protocol import Report


class Outbox:
    """Sends reports at once when called, or ``later``; their order stays.

    A device that computes by itself need not wait while tokens are encoded and sent: they go when it has work again.
    """

    def __init__(self, send: Callable[[Report], None], patient: bool) -> None:
        """``patient``: whether the device computes by itself, so that ``later`` has any use."""
        self._send = send
        self._patient = patient
        self._waiting: list[Report] = []

    def __call__(self, report: Report) -> None:
        """Send what is still here, then ``report``."""
        self.flush()
        self._send(report)

    def later(self, report: Report) -> None:
        """Send a report when the device has work again, or before the next other report, or with the next ``flush``."""
        self._waiting.append(report)
        if not self._patient:
            self.flush()

    def flush(self) -> None:
        """Send all that is still here."""
        while self._waiting:
            self._send(self._waiting.pop(0))
