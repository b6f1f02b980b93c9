"""What the commands that serve a trace have in common: where to write the figures of their runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hotbunk.errors import ConfigError
from hotbunk.extras import needs
from hotbunk.units import parse_duration

if TYPE_CHECKING:  # NumPy, which --help can do without
    from hotbunk.outcomes import Run
    from hotbunk.outcomes.slo import Slos

__all__ = ["Files", "duration"]


@dataclass(frozen=True)
class Files:
    """Where to write what, None for nowhere; ``begin`` and ``end`` are of the page's timelines, in seconds.

    ``parquet`` is a file for the requests of one run, if it is named so, else a folder with a file for each.
    """

    parquet: Path | None = None
    csv: Path | None = None
    page: Path | None = None
    begin: float | None = None
    end: float | None = None

    def check(self) -> None:
        """See early, before anything takes long, that it can be done.

        Raises:
            ConfigError: a package is missing, a folder is, or the timelines end before they begin.
        """
        needs(*["pyarrow"] * bool(self.parquet), *["matplotlib"] * bool(self.page))
        for path in (self.parquet, self.csv, self.page):
            if path and not path.absolute().parent.is_dir():
                raise ConfigError(f"{path}: there is no folder {path.parent}; make it, or give another file")
        if self.begin is not None and self.end is not None and self.end <= self.begin:
            raise ConfigError(f"--to {self.end:g} is not after --from {self.begin:g}; give a later one")

    def write(self, runs: Sequence[Run], slos: Slos, about: Sequence[tuple[str, str]], title: str) -> None:
        """Write them.

        Raises:
            ConfigError: one cannot be written.
        """
        from hotbunk.outcomes.files import write_page, write_requests, write_summary
        from hotbunk.outcomes.metrics import summarise
        from hotbunk.outcomes.page import page

        if self.parquet:
            for run in runs:
                write_requests(run, slos, _place(self.parquet, run, runs))
        if self.csv:
            write_summary([summarise(run, slos) for run in runs], self.csv)
        if self.page:
            write_page(page(runs, slos, self._window(), about, title), self.page)

    def _window(self) -> tuple[float, float] | None:
        from hotbunk.outcomes.page import WINDOW

        if self.begin is None and self.end is None:
            return None
        begin = max(0.0, (self.end or 0.0) - WINDOW) if self.begin is None else self.begin
        return begin, begin + WINDOW if self.end is None else self.end


def duration(option: str, text: str | None) -> float | None:
    """Seconds that an option gives.

    Raises:
        ConfigError: it is no duration.
    """
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text}: {error}") from error


def _place(path: Path, run: Run, runs: Sequence[Run]) -> Path:
    """The file of a run's requests: that one, or one in that folder."""
    if len(runs) == 1 and path.suffix == ".parquet":
        return path
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--parquet {path}: cannot be made: {error.strerror}; give another folder") from error
    return path / f"{run.name.replace('/', '-')}.parquet"
