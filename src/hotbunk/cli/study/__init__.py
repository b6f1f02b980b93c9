"""``hotbunk study``: the experiments of the study and beyond, and the models that they need."""

import typer

from hotbunk.cli.study.experiments import commands
from hotbunk.cli.study.make import make

__all__ = ["app"]

app = typer.Typer(help="Repeat the study of offloading and preemption, and go on.", no_args_is_help=True)
app.command("make-model")(make)
for _name, _command in commands.items():
    app.command(_name)(_command)
