"""`python -m miles watch …`: what is collected again by itself."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Connection

from miles import db, settings
from miles.cli.answers import answer, print_json, progress, remark
from miles.cli.options import Json, Keep, Kind, Language, Named, Region, Target
from miles.cli.videos import score_stored, told

if TYPE_CHECKING:
    from miles.collecting import Progress as Done
    from miles.watchlist import Entry

commands = typer.Typer(
    help="What is collected again by itself: topics, channels, hashtags, each with its own cadence and budget.",
    epilog='Example: python -m miles watch add "street food" --every 6h',
    no_args_is_help=True,
)


@commands.command("add", epilog='Example: python -m miles watch add "street food" --every 12h --keep "duration <= 180"')
def watch_add(
    target: Target,
    every: Annotated[str, typer.Option(help="How often: hours, days or weeks, from 1h to 31d.")] = "6h",
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many videos a run lists at most.")] = 20,
    read: Annotated[
        int | None, typer.Option(min=0, max=500, help="How many of them it reads in full at most [all].")
    ] = None,
    kind: Kind = None,
    keep: Keep = None,
    language: Language = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Collect something again and again from now on. Added once more, the newer settings count."""
    from miles import watchlist

    db.ready()
    with db.transaction("worker") as connection:
        watch_id, new = watchlist.add(
            connection, target, kind, watchlist.cadence(every), limit, read, keep, language, region,
            settings.load().user,
        )  # fmt: skip
        entry = watchlist.entry(connection, watch_id)
    answer(as_json, _entry(entry), f"{'Added' if new else 'Changed'}; a worker collects it when it is due")


@commands.command("list", epilog="Example: python -m miles watch list --json")
def watch_list(as_json: Json = False) -> None:
    """What is watched, how often, when next, and what came of the last run."""
    from miles import watchlist

    db.ready()
    with db.transaction("viewer") as connection:
        listed = watchlist.entries(connection)
    if as_json:
        print_json({"watchlist": [_entry(one) for one in listed]})
        return
    table = Table("number", "kind", "target", "every", "at most", "for", "keeps", "next (UTC)", "last run")
    for one in listed:
        last = one.last
        table.add_row(
            str(one.watch_id),
            one.kind,
            escape(one.target),
            watchlist.as_written(one.every),
            f"{one.item_limit}" + ("" if one.read_limit is None else f" ({one.read_limit} in full)"),
            " ".join(filter(None, (one.language, one.region))) or "–",
            escape(one.match_filter or "–"),
            "paused" if one.paused_at else f"{one.next_at:%Y-%m-%d %H:%M}",
            "–" if last is None else f"{last.state}: {last.new} new, {last.updated} updated, {last.failed} failed",
        )
    Console().print(table if listed else "Nothing is watched. `python -m miles watch add TARGET` adds something.")


@commands.command("remove", epilog='Example: python -m miles watch remove "street food"')
def watch_remove(name: Named, as_json: Json = False) -> None:
    """Stop watching something; what was collected stays."""
    from miles import watchlist

    _change_entry(name, watchlist.remove, "Removed", as_json)


@commands.command("pause", epilog="Example: python -m miles watch pause 3")
def watch_pause(name: Named, as_json: Json = False) -> None:
    """Begin no more runs of it until it is resumed."""
    from miles import watchlist

    _change_entry(name, watchlist.pause, "Paused", as_json)


@commands.command("resume", epilog="Example: python -m miles watch resume 3")
def watch_resume(name: Named, as_json: Json = False) -> None:
    """Go on with what was paused; what it missed is made up once."""
    from miles import watchlist

    _change_entry(name, watchlist.resume, "Resumed", as_json)


@commands.command("run", epilog="Example: python -m miles watch run")
def watch_run(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NUMBER|TARGET]...", help="What to run; else all that is due.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Collect what is due, or what is named, now and in this process, whether or not a worker runs."""
    from miles import collecting

    db.ready()
    reports = []
    for collection_id in _begun(names or []):
        with progress("Collecting") as bar:
            reports.append(collecting.carry_out(collection_id, on_progress=_shown(bar), again=False))
    if as_json:
        print_json({"ran": [told(one) for one in reports]})
    else:
        table = Table("target", "state", "found", "new", "updated", "skipped", "failed", "pending")
        for one in reports:
            counts = (one.found, one.new, one.updated, one.skipped, one.failed, one.pending)
            table.add_row(escape(one.target), one.state, *map(str, counts))
        Console().print(table if reports else "Nothing is due.")
    for one in reports:
        if one.reason:
            remark(f"{one.target}: {one.reason}")
    if any(one.candidate_ids for one in reports):
        score_stored()
    if any(one.state == "failed" or one.failed for one in reports):
        raise typer.Exit(1)


def _begun(names: list[str]) -> Iterator[int]:
    """The collections to carry out, each begun when it is its turn: those named, or all that is due or was left."""
    from miles import collecting, watchlist

    for name in names:
        with db.transaction("worker") as connection:
            collection_id = watchlist.start(connection, watchlist.find(connection, name).watch_id, settings.load().user)
        yield collection_id
    while not names:
        with db.transaction("worker") as connection:
            collecting.give_up_abandoned(connection)
            begun = collecting.take_left(connection) or next(iter(watchlist.start_due(connection, most=1)), None)
        if begun is None:
            return
        yield begun


def _shown(bar: Callable[[float, float | None], None]) -> "Callable[[Done], None]":
    return lambda at: bar(at.done, at.total)


def _change_entry(name: str, change: Callable[[Connection, int], None], done: str, as_json: bool) -> None:
    from miles import watchlist

    db.ready()
    with db.transaction("worker") as connection:
        entry = watchlist.find(connection, name)
        change(connection, entry.watch_id)
    answer(as_json, {"watch_id": entry.watch_id, "target": entry.target, "done": done.lower()}, done)


def _entry(entry: "Entry") -> dict[str, Any]:
    """An entry of the watchlist as it is printed."""
    from miles import watchlist

    return {**asdict(entry), "every": watchlist.as_written(entry.every), "most_requests": entry.most_requests}
