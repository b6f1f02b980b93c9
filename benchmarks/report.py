"""What the suite has found so far, written as it comes, so that a run that is cut short leaves what it has."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Report:
    """Lines of text, to the screen and to a file. ``failed`` counts the rows that were not as promised."""

    out: Path | None
    failed: int = 0
    began: float = field(default_factory=time.perf_counter)

    def say(self, line: str) -> None:
        """One line."""
        print(line, flush=True)
        if self.out:
            with self.out.open("a") as file:
                file.write(line + "\n")

    def title(self, text: str) -> None:
        """A point begins."""
        self.say(f"\n## {text}   [{time.perf_counter() - self.began:.0f} s]")

    def row(self, name: str, measured: str, aim: str = "", ok: bool | None = None) -> None:
        """One result; ``ok`` None: nothing was promised, or not for this device."""
        self.failed += ok is False
        verdict = {True: "ok", False: "NOT OK", None: ""}[ok]
        self.say(f"{name:66} {measured:>30}  {aim:24} {verdict}".rstrip())


@dataclass(frozen=True)
class Run:
    """What every point needs to know. ``judged``: speeds are held against their aims (real sizes on a real GPU)."""

    report: Report
    device: str
    files: dict[str, Path]
    layers: int
    threads: int
    judged: bool
    server: Path | None
    bench: Path | None

    @property
    def tokens(self) -> int:
        """Length of a long prompt."""
        return 6000 if self.judged else 600

    def speed(self, name: str, measured: str, aim: str, ok: bool) -> None:
        """A result that has an aim where speeds are judged."""
        self.report.row(name, measured, aim, ok if self.judged else None)

    def split(self, of: int) -> int:
        """What ``of`` 37 layers are in these models, which have 37 unless they were made otherwise."""
        return round(of / 37 * self.layers)
