"""Starting Miles, its parts one by one, and how it stands."""

import logging
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from miles import db, settings
from miles.cli.answers import answer, print_json, remark
from miles.cli.options import Json

commands = typer.Typer()


@commands.command(epilog="Example: python -m miles up --port 8600")
def up(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Where the dashboard listens [8501].")] = None,
) -> None:
    """Start the database, a worker and the dashboard; Ctrl-C ends them all."""
    from miles import up as supervisor

    supervisor.up(port, say=lambda line: print(line, flush=True))


@commands.command(epilog="Example: DATABASE_URL=postgresql://me@db/miles python -m miles migrate")
def migrate(as_json: Json = False) -> None:
    """Bring the database to this version of Miles (done at every start, too)."""
    applied = db.migrate()
    answer(as_json, {"applied": applied, "database": db.place()}, "Migrations")


@commands.command(epilog="Example: python -m miles worker --concurrency 2")
def worker(
    concurrency: Annotated[int, typer.Option(min=1, max=32, help="How many jobs at once.")] = 2,
    parent: Annotated[int | None, typer.Option(hidden=True, help="End when this process ends.")] = None,
) -> None:
    """Work off the jobs: collecting, scoring, rolling up. As many as wanted, on any machine."""
    from miles import jobs, storage
    from miles.up import end_with

    logging.getLogger().setLevel(logging.INFO)
    if parent is not None:
        end_with(parent)
    db.ready()
    storage.warn()
    jobs.run_worker(concurrency=concurrency)  # two: a long collection must not hold up the scoring of another


@commands.command(hidden=True)
def dashboard(port: int, parent: int) -> None:
    """The dashboard alone, ending with its parent: what `up` starts."""
    from streamlit.web import cli as streamlit

    from miles.up import end_with

    end_with(parent)
    home_page = str(settings.PROJECT / "Home.py")
    streamlit.main(
        ["run", home_page, "--server.port", str(port), "--server.headless", "true", "--server.fileWatcherType", "none"]
    )


@commands.command(epilog="Example: MILES_API_KEYS=… python -m miles api --host 0.0.0.0 --port 8600")
def api(
    host: Annotated[str | None, typer.Option(help="Where to listen [127.0.0.1; 0.0.0.0 where PORT is set].")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="On which port [PORT, else 8600].")] = None,
) -> None:
    """Serve the HTTP API alone: no database, no dashboard. See docs/api.md."""
    from miles import api as serving

    logging.getLogger().setLevel(logging.INFO)
    serving.serve(host, port)


@commands.command(epilog="Example: python -m miles status --json")
def status(as_json: Json = False) -> None:
    """What is in the database, how fresh it is, and how the jobs stand."""
    from miles import operations

    db.ready()
    with db.transaction("viewer") as connection:
        state = operations.status(connection)
    answer(as_json, {**asdict(state), "database": db.place(), "home": str(settings.load().home)}, "Miles")


@commands.command(epilog="Example: python -m miles health --canary youtube")
def health(
    canary: Annotated[str | None, typer.Option(metavar="SOURCE", help="Ask this source its canary now.")] = None,
    as_json: Json = False,
) -> None:
    """How each source stands: budget, circuit breaker, success, canary; and how old yt-dlp is.

    Exit status 1 where a source refuses us or a canary fails.
    """
    from miles import health as sources

    db.ready()
    if canary is not None:
        sources.ask(canary.lower())
    with db.transaction("viewer") as connection:
        listed = sources.sources(connection)
    installed = sources.yt_dlp(datetime.now(UTC).date())
    if as_json:
        print_json({"yt_dlp": asdict(installed), "sources": [asdict(one) for one in listed]})
    else:
        table = Table("source", "breaker", "requests this hour", "answered, 24 h", "last success", "canary")
        for one in listed:
            state = one.state
            table.add_row(
                one.source,
                state.breaker + (f" until {state.resume_at:%Y-%m-%d %H:%M} UTC" if state.resume_at else "")
                if state
                else "–",
                f"{state.used} of {state.budget}" if state else "–",
                f"{state.answered_24h} of {state.answered_24h + state.failed_24h}" if state else "–",
                f"{state.last_success_at:%Y-%m-%d %H:%M}" if state and state.last_success_at else "–",
                "–"
                if one.canary is None
                else f"{'passed' if one.canary.passed else 'failed'} {one.canary.at:%Y-%m-%d %H:%M}",
            )
        Console().print(table)
        age = "" if installed.age_days is None else f", {installed.age_days} days old"
        print(f"yt-dlp {installed.version}{age}{'; update it' if installed.old else ''}")
    for one in listed:
        for reason in filter(None, (one.state and one.state.reason, one.canary and one.canary.reason)):
            remark(f"{one.source}: {reason}")
    if not all(one.well for one in listed):
        raise typer.Exit(1)
