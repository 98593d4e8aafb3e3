"""`python -m miles model …`: which version scores, and which others there are."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from miles import db, settings
from miles.cli.answers import answer, complain, print_json, remark
from miles.cli.options import Json
from miles.errors import MilesError, ModelUnavailable

commands = typer.Typer(
    help="The versions of the model: which is in force, and which others there are.",
    epilog="Example: python -m miles model list",
    no_args_is_help=True,
)


@commands.command("list", epilog="Example: python -m miles model list --json")
def list_models(as_json: Json = False) -> None:
    """The versions that this database knows: state, when made, what they reached, how much they scored."""
    from miles import registry

    db.ready()
    with db.transaction("worker") as connection:
        try:
            registry.adopt(connection)
        except ModelUnavailable as error:
            complain(error)
    with db.transaction("viewer") as connection:
        known = registry.versions(connection)
        scored = registry.count_scores(connection)
    listed = [
        {
            "version": one.version,
            "state": one.state,
            "made": one.made,
            "figures": registry.figures(one.manifest),
            "scores": scored.get(one.version, 0),
            "added_at": one.added_at,
            "activated_at": one.activated_at,
            "activated_by": one.activated_by,
            "here": registry.is_here(one.version),
        }
        for one in known
    ]
    if as_json:
        print_json({"versions": listed})
        return
    table = Table(title="Models", title_justify="left")
    for heading in ("version", "state", "made", "reached", "scores", "activated"):
        table.add_column(heading, no_wrap=heading == "version")
    for one in known:
        reached = "\n".join(f"{name} {value:.3f}" for name, value in registry.figures(one.manifest).items())
        activated = f"{one.activated_at:%Y-%m-%d %H:%M} by {one.activated_by}" if one.activated_at else "–"
        state: str = one.state if registry.is_here(one.version) else f"{one.state} (its files are not here)"
        scores = f"{scored.get(one.version, 0):,}"
        table.add_row(one.version, state, one.made or "–", reached or "–", scores, activated)
    Console().print(table)


@commands.command(epilog="Example: python -m miles model activate build/model")
def activate(
    name: Annotated[str, typer.Argument(metavar="VERSION|FOLDER", show_default=False)], as_json: Json = False
) -> None:
    """Put a version in force once it is verified; what runs takes it up, and candidates are scored again."""
    from miles import jobs, registry

    db.ready()
    folder = _verified(name)
    kept = registry.keep(folder)
    with db.transaction("worker") as connection:
        version = registry.activate(connection, kept, settings.load().user)
        jobs.defer_score(connection)
    answer(as_json, {"version": version.version, "state": version.state, "folder": str(kept)}, "In force")


@commands.command(epilog="Example: python -m miles model rollback")
def rollback(as_json: Json = False) -> None:
    """Put the version that was in force before the latest change in force again; again, the one before that."""
    from miles import jobs, registry

    db.ready()
    with db.transaction("viewer") as connection:
        wanted = registry.to_roll_back_to(connection)
    _verified(wanted)
    with db.transaction("worker") as connection:
        left = registry.current(connection)
        version = registry.roll_back(connection, settings.load().user)
        if version.version != wanted:
            raise MilesError("Somebody changed the version in force meanwhile. Look at `python -m miles model list`.")
        jobs.defer_score(connection)
    answer(as_json, {"version": version.version, "state": version.state, "left": left}, "In force again")


@commands.command(epilog="Example: python -m miles model verify model")
def verify(
    name: Annotated[
        str | None, typer.Argument(metavar="[VERSION|FOLDER]", help="The version in force, if not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a model's files against their checksums, and that it scores as when it was made."""
    from miles import registry

    if name is None:
        db.ready()
        with db.transaction("worker") as connection:
            name = registry.adopt(connection)
    folder = registry.find(name)
    problems = registry.verify(folder)
    try:
        version = registry.read_manifest(folder)["version"]
    except ModelUnavailable:
        version = None
    document = {"folder": str(folder), "version": version, "whole": not problems, "problems": problems}
    if as_json:
        print_json(document)
    elif not problems:
        print(f"Model {version} in {folder} is whole and scores as when it was made.")
    for problem in problems:
        remark(problem)
    if problems:
        raise typer.Exit(1)


@commands.command(epilog="Example: python -m miles model shadow build/model")
def shadow(
    name: Annotated[str, typer.Argument(metavar="VERSION|FOLDER|off", show_default=False)], as_json: Json = False
) -> None:
    """Let a version score beside the one in force, without showing its scores; the Model page compares them."""
    from miles import jobs, registry

    db.ready()
    version: str | None = None
    if name == "off":
        with db.transaction("worker") as connection:
            registry.set_shadow(connection, None)
    else:
        kept = registry.keep(_verified(name))
        with db.transaction("worker") as connection:
            registry.adopt(connection)
            version = registry.add(connection, kept)
            registry.set_shadow(connection, version)
            jobs.defer_score(connection)
    answer(as_json, {"shadow": version}, "Shadow")


def _verified(name: str) -> Path:
    """The folder of a version or path, verified. Raises MilesError with everything that is wrong."""
    from miles import registry

    folder = registry.find(name)
    problems = registry.verify(folder)
    if problems:
        raise ModelUnavailable(f"The model in {folder} is not used: {' '.join(problems)}")
    return folder
