"""`python -m miles …`: what a person or a script can ask of Miles from a terminal.

People get tables and progress bars (on stderr); `--json` gives one JSON document on stdout and nothing
else there. Exit status: 0 done, 1 something failed (said which), 2 wrong use.
"""

import logging
import sys
from typing import Annotated, NoReturn

import typer

from miles import __version__
from miles.cli import create, keeping, models, running, videos, watching
from miles.cli.answers import complain, people
from miles.errors import MilesError

app = typer.Typer(
    name="miles",
    help="Collect short videos, score their potential, and see what is taking off.",
    epilog="Example: python -m miles up",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (running, videos, create, keeping):
    app.add_typer(group.commands)
app.add_typer(models.commands, name="model")
app.add_typer(watching.commands, name="watch")


def main() -> NoReturn:
    """The entry point: turns a MilesError into a sentence and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        app()
    except MilesError as error:
        complain(error)
        sys.exit(1)
    except KeyboardInterrupt:
        people.print("Interrupted. What was finished is kept; the same command goes on from there.")
        sys.exit(1)
    sys.exit(0)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and end.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done, on stderr.")] = False,
) -> None:
    if verbose:
        logging.getLogger().setLevel(logging.INFO)
