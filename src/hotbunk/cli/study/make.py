"""``hotbunk study make-model``: a model file of a real shape, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from hotbunk.errors import ConfigError
from hotbunk.study.shapes import SHAPES, TYPES, Shape, named
from hotbunk.units import brief_size

__all__ = ["make"]


def make(
    shape: Annotated[
        str | None, typer.Argument(help="A named shape, or a config.json of Hugging Face.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Argument(help="The GGUF file to write.", show_default=False)] = None,
    kind: Annotated[
        str | None,
        typer.Option("--type", help=f"How to write the weights: {', '.join(TYPES)}.", show_default="the shape's"),
    ] = None,
    scale: Annotated[float, typer.Option(min=0.001, max=1, help="Shrinks widths and vocabulary.")] = 1.0,
    blocks: Annotated[int | None, typer.Option(help="Keeps so many blocks.", show_default="all")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the named shapes and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --list: print JSON.")] = False,
) -> None:
    """Write a model of a real shape with random weights: its speed is that of the real one.

    The shape is one of ``--list``, or that of a config.json of the kinds llama, mistral, mixtral, qwen2, qwen3 and
    qwen3_moe. The file is streamed to disk; memory stays small.
    """
    if listed:
        _list(as_json)
        return
    if shape is None or out is None:
        raise ConfigError("name a shape and the file to write, or give --list to see the shapes")
    _write(out, _shape(shape).scaled(scale).cut(blocks), kind, force)


def _shape(name: str) -> Shape:
    from hotbunk.study.huggingface import read

    return read(Path(name)) if name not in SHAPES and name.endswith(".json") else named(name)


def _write(out: Path, shape: Shape, kind: str | None, force: bool) -> None:
    # here and not above: --help can do without numpy
    from hotbunk.study.write import size, write

    kind = shape.type if kind is None else kind
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(out.name, total=size(shape, kind))
        written = write(out, shape, kind, force, lambda done: progress.update(task, completed=done))
    layers = f"{shape.blocks} blocks and the {'tied ' if shape.tied else ''}head"
    typer.echo(f"{out}: {brief_size(written)}, {shape.architecture}, {layers}, {kind}")


def _list(as_json: bool) -> None:
    from hotbunk.study.write import size

    sizes = {name: {kind: size(shape, kind) for kind in TYPES} for name, shape in SHAPES.items()}
    if as_json:
        rows = [{"name": name, "type": SHAPES[name].type, "bytes": found} for name, found in sizes.items()]
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("shape", "arch", "blocks", "width", *TYPES):
        table.add_column(column, no_wrap=True, justify="left" if column in ("shape", "arch") else "right")
    for name, shape in SHAPES.items():
        cells = [_cell(kind, size, shape) for kind, size in sizes[name].items()]
        table.add_row(name, shape.architecture, str(shape.blocks), str(shape.width), *cells)
    console = Console()
    console.width = max(console.width, 110)
    console.print(table)
    console.print("*: how it is written if --type does not say otherwise")


def _cell(kind: str, size: int, shape: Shape) -> str:
    text = f"{size / 1e9:.1f} GB"
    return f"[bold]{text}*[/bold]" if kind == shape.type else text
