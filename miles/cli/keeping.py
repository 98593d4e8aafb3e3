"""Old and unwanted things deleted."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from miles import db, settings
from miles.cli.answers import answer, print_json, progress
from miles.cli.options import Json

commands = typer.Typer()


@commands.command(epilog="Example: python -m miles tidy --json")
def tidy(
    verify: Annotated[bool, typer.Option("--verify", help="Read every stored picture, to find damaged ones.")] = False,
    fetch_all: Annotated[
        bool, typer.Option("--fetch-all", help="Fetch missing pictures even where most of them are missing here.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Only say which snapshots would go; change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Thin old snapshots, delete pictures that nobody needs, fetch missing ones again (a worker does it daily)."""
    from miles import keeping, rollups

    db.ready()
    with progress("Cleaning up") as report:
        done = keeping.tidy(
            verify=verify,
            fetch_all=fetch_all,
            dry_run=dry_run,
            on_progress=lambda what, done, total: report(done, float(total)),
        )
    if done.snapshots.removed and not dry_run:
        with db.transaction("worker") as connection:
            rollups.refresh(connection)
    document: dict[str, Any] = {
        "snapshots_removed": done.snapshots.removed,
        "snapshots_older_than": done.snapshots.before,
        "removals_finished": done.removals_finished,
        "pictures_forgotten": done.pictures_forgotten,
        "files_half_stored": done.half_stored,
    }
    if done.pictures:
        document |= {f"pictures_{name}": number for name, number in asdict(done.pictures).items()}
    answer(as_json, document, "Would go" if dry_run else "Cleaned up")


@commands.command(epilog="Example: python -m miles remove https://www.youtube.com/@somebody --yes")
def remove(
    target: Annotated[
        str | None, typer.Argument(help="A video or a channel: its key, address or @handle.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why, for the list of what was removed.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show what was removed, and is kept out.")] = False,
    lifted: Annotated[
        str | None, typer.Option("--lift", metavar="TARGET", help="Let this be collected again.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Delete everything of a video or a channel, and never collect it again."""
    from miles import jobs, removal, tombstones

    if (target is not None) + listed + (lifted is not None) != 1:
        raise typer.BadParameter("give one of TARGET, --list and --lift", param_hint="TARGET")
    db.ready()
    if lifted is not None:
        with db.transaction("worker") as connection:
            stone = tombstones.lift(connection, lifted)
        answer(as_json, {"kind": stone.kind, "key": stone.key}, "May be collected again")
    elif target is None:
        with db.transaction("viewer") as connection:
            stones = tombstones.listed(connection)
        _list_removed([asdict(stone) for stone in stones], as_json)
    else:
        with db.transaction("viewer") as connection:
            found = removal.find(connection, target)
        if not yes:
            if as_json:
                raise typer.BadParameter("--json can't ask; add --yes", param_hint="--yes")
            what = f"{found.kind} {found.key}" + (f" ({found.title})" if found.title else "")
            typer.confirm(
                f"Delete the {what}, {found.videos} videos with {found.snapshots} snapshots and all else of it, and keep"
                " it out from now on?",
                abort=True,
                err=True,
            )
        removed = removal.remove(found, settings.load().user, reason)
        with db.transaction("worker") as connection:
            jobs.defer_score(connection)  # the numbers of the channel's other videos rested on it
        answer(as_json, asdict(removed), "Removed")


def _list_removed(stones: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json({"removed": stones})
        return
    table = Table(title="Removed, and kept out", title_justify="left")
    for heading in ("kind", "key", "removed", "by", "reason"):
        table.add_column(heading, no_wrap=heading == "key")
    for stone in stones:
        when = f"{stone['removed_at']:%Y-%m-%d %H:%M}" + ("" if stone["deleted_at"] else " (being deleted)")
        table.add_row(stone["kind"], stone["key"], when, stone["removed_by"], stone["reason"] or "–")
    Console().print(table)
