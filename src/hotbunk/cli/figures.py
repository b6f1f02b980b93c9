"""What the commands that serve a trace have in common: where to write the figures of their runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hotbunk.errors import ConfigError
from hotbunk.extras import needs

if TYPE_CHECKING:  # NumPy, which --help can do without
    from hotbunk.outcomes import Run
    from hotbunk.outcomes.slo import Slos

__all__ = ["Files", "writable"]


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

    def check(self, runs: int) -> None:
        """See early, before anything takes long, that it can be done for so many runs.

        Raises:
            ConfigError: a package is missing, a file cannot be written, or the timelines end before they begin.
        """
        needs(*["pyarrow"] * bool(self.parquet), *["matplotlib"] * bool(self.page))
        for option, path in (("--csv", self.csv), ("--page", self.page)):
            if path:
                writable(option, path)
        if self.parquet:
            writable("--parquet", self.parquet, folder=not _single(self.parquet, runs))
        if self.end is not None and self.end <= (self.begin or 0.0):
            raise ConfigError(f"--to {self.end:g} is not after --from {self.begin or 0.0:g}; give a later one")

    def write(self, runs: Sequence[Run], slos: Slos, about: Sequence[tuple[str, str]], title: str) -> None:
        """Write them, each whatever becomes of the others.

        Raises:
            ConfigError: one or more cannot be written, or the timelines begin when all is over.
        """
        from hotbunk.outcomes.files import write_page, write_requests, write_summary
        from hotbunk.outcomes.metrics import summarise
        from hotbunk.outcomes.page import page

        def requests(path: Path) -> None:
            for run in runs:
                write_requests(run, slos, _place(path, run, runs))

        def figures(path: Path) -> None:
            write_summary([summarise(run, slos) for run in runs], path)

        def shown(path: Path) -> None:
            window = self._window(max(run.duration for run in runs))
            write_page(page(runs, slos, window, about, title), path)

        failures = []
        for path, write in ((self.parquet, requests), (self.csv, figures), (self.page, shown)):
            try:
                if path:
                    write(path)
            except ConfigError as error:
                failures.append(str(error))
        if failures:
            raise ConfigError("; ".join(failures))

    def _window(self, over: float) -> tuple[float, float] | None:
        """Of runs that are over then."""
        from hotbunk.outcomes.page import WINDOW

        if self.begin is None and self.end is None:
            return None
        if self.begin is not None and self.begin >= over:
            raise ConfigError(f"--from {self.begin:g}: everything is over after {over:,.0f} s; give an earlier moment")
        begin = max(0.0, (self.end or 0.0) - WINDOW) if self.begin is None else self.begin
        return begin, begin + WINDOW if self.end is None else self.end


def writable(option: str, path: Path, folder: bool = False) -> None:
    """See early that a file can be written there, or files into a ``folder``, which may have to be made.

    Raises:
        ConfigError: it cannot.
    """
    wanted, other = ("folder", "file") if folder else ("file", "folder")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}; make it, or give another {wanted}")
    if path.exists() and path.is_dir() != folder:
        raise ConfigError(f"{option} {path}: it is a {other}; give a {wanted}")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise ConfigError(f"{option} {path}: it cannot be written; give another {wanted}")


def _single(path: Path, runs: int) -> bool:
    """Whether it is a file for the requests of one run, and no folder."""
    return runs == 1 and path.suffix == ".parquet"


def _place(path: Path, run: Run, runs: Sequence[Run]) -> Path:
    """The file of a run's requests: that one, or one in that folder."""
    if _single(path, len(runs)):
        return path
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--parquet {path}: cannot be made: {error.strerror}; give another folder") from error
    return path / f"{run.name.replace('/', '-')}.parquet"
