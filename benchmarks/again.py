"""Make tables of simulations anew: run the commands that stand above them, and put what they print in their place.

    python benchmarks/again.py --traces FOLDER [--out FOLDER] docs/measurements/policies.txt ...

A file is comments (``#``), which stay, and between them tables, each made by the last ``python benchmarks/...`` in the
comments above it. Traces are read from ``--traces``; those that a comment draws (``hotbunk trace make NAME ...``) are
drawn there anew. ``FOLDER`` in a command is a folder of its own in ``--out``. What a command says as it goes on comes
through; the table of one that fails stays as it is, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"((?:^#.*\n)+)(\n*)((?:^[^#\n].*\n|\n(?!#))*)(\n*)", re.MULTILINE)
_COMMAND = re.compile(r"(?:python benchmarks/\w+\.py|hotbunk trace make) .*")


@dataclass(frozen=True, slots=True)
class Block:
    """Comments, and the table below them, with what blank lines there are before and after it."""

    comments: str
    before: str
    table: str
    after: str

    @property
    def text(self) -> str:
        """As it stands in the file."""
        return self.comments + self.before + self.table + self.after

    @property
    def commands(self) -> list[list[str]]:
        """What the comments say to run, as words; a line that ends with a backslash goes on in the next."""
        lines = re.sub(r"\\\n#\s*", "", self.comments).splitlines()
        return [shlex.split(found[0]) for line in lines if (found := _COMMAND.search(line))]

    @property
    def maker(self) -> list[str] | None:
        """The command that makes the table."""
        makers = [words for words in self.commands if words[0] == "python"]
        return makers[-1] if makers and self.table else None


def main() -> int:
    """Make them anew."""
    given, failed = _arguments(), list[str]()
    for file in given.files:
        blocks = [Block(*found) for found in _BLOCK.findall(file.read_text())]
        if "".join(block.text for block in blocks) != file.read_text():
            raise SystemExit(f"{file}: does not begin with a comment")
        _draw((words for block in blocks for words in block.commands if words[0] == "hotbunk"), given.traces)
        for number, block in enumerate(blocks):
            if block.maker:
                table = _made(block.maker, given.traces.absolute(), given.out.absolute() / file.stem / str(number))
                if table is None:
                    failed.append(f"{file}, table {number + 1}, stays as it was: its command failed")
                else:
                    blocks[number] = replace(block, table=table)
                    file.write_text("".join(each.text for each in blocks))
    print(*failed, sep="\n", end="\n" if failed else "", file=sys.stderr)
    return int(bool(failed))


def _draw(commands: Iterable[list[str]], traces: Path) -> None:
    for words in commands:
        (traces / words[3]).unlink(missing_ok=True)
        subprocess.run([sys.executable, "-m", *words], cwd=traces, check=True, stdout=sys.stderr)


def _made(words: list[str], traces: Path, out: Path) -> str | None:
    """What the command prints, run where the traces are; None if it fails."""
    out.mkdir(parents=True, exist_ok=True)
    script, *more = [str(out) if word == "FOLDER" else word for word in words[1:]]
    command = [sys.executable, str(ROOT / script), *more]
    print("$", shlex.join(words), file=sys.stderr, flush=True)
    done = subprocess.run(command, cwd=traces, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip("\n") + "\n" if done.returncode == 0 else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="of docs/measurements")
    parser.add_argument("--traces", type=Path, required=True, help="where traces are")
    parser.add_argument(
        "--out", type=Path, default=Path(tempfile.gettempdir(), "again"), help="for what else is written"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
