"""`python -m miles …`: what a person or a script can ask of Miles from a terminal.

People get tables and progress bars (on stderr); `--json` gives one JSON document on stdout and nothing
else there. Exit status: 0 done, 1 something failed (said which), 2 wrong use.
"""

import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from sqlalchemy import Connection

from miles import __version__, db, settings
from miles.errors import MilesError, ModelUnavailable

if TYPE_CHECKING:
    from miles.collecting import CollectionReport
    from miles.collecting import Progress as Done
    from miles.watchlist import Entry

app = typer.Typer(
    name="miles",
    help="Collect short videos, score their potential, and see what is taking off.",
    epilog="Example: python -m miles up",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models = typer.Typer(
    help="The versions of the model: which is in force, and which others there are.",
    epilog="Example: python -m miles model list",
    no_args_is_help=True,
)
app.add_typer(models, name="model")
watched = typer.Typer(
    help="What is collected again by itself: topics, channels, hashtags, each with its own cadence and budget.",
    epilog='Example: python -m miles watch add "street food" --every 6h',
    no_args_is_help=True,
)
app.add_typer(watched, name="watch")
people = Console(stderr=True)

Keep = Annotated[
    str | None,
    typer.Option(
        "--match-filter",
        "--keep",
        metavar="FILTER",
        help="What to keep, in yt-dlp's syntax: 'duration <= 180 & view_count > 1000'.",
    ),
]
Named = Annotated[str, typer.Argument(metavar="NUMBER|TARGET", help="As `watch list` names it.", show_default=False)]
Language = Annotated[str | None, typer.Option(help="The language that a search or hashtag is asked in, e.g. ja.")]
Region = Annotated[str | None, typer.Option(help="The country that it is asked for, e.g. JP.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, and nothing else there.")]


def main() -> NoReturn:
    """The entry point: turns a MilesError into a sentence and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        app()
    except MilesError as error:
        people.print(f"[bold red]Error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        people.print("Interrupted. What was finished is kept; the same command goes on from there.")
        sys.exit(1)
    sys.exit(0)


def _answer(as_json: bool, document: dict[str, Any], title: str) -> None:
    """Print the outcome of a command: as JSON for scripts, as a table for people."""
    if as_json:
        print(json.dumps(document, ensure_ascii=False, default=str))
        return
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in document.items():
        shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(shown, dict):
            shown = ", ".join(f"{key} {count}" for key, count in shown.items()) or "–"
        if isinstance(shown, list | tuple):
            shown = f"{len(shown)}"
        table.add_row(name.replace("_", " "), "–" if shown is None else str(shown))
    Console().print(table)


@contextmanager
def _progress(text: str, *counts: ProgressColumn) -> Iterator[Callable[[float, float | None], None]]:
    """A progress bar on stderr; yields `report(done, total)`."""
    counts = counts or (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(), *counts, TimeRemainingColumn())
    with Progress(*columns, console=people, transient=True, disable=not people.is_terminal) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _score_stored(everything: bool = False) -> dict[str, Any]:
    """Score what the database holds: measure before, sum up after (without a model, too: then it raises)."""
    from miles import jobs, monitor, registry, rollups, score_candidates

    problem: ModelUnavailable | None = None
    outcome: dict[str, Any] = {"scored": 0}
    try:
        model = registry.active_model()
        with db.transaction("worker") as connection:
            rollups.measure(connection)
        with _progress("Scoring") as report:
            scored = score_candidates.score_pending(model, everything=everything, on_progress=report)
        shadow = jobs.shadow_model()
        if shadow is not None:
            with _progress("Scoring in shadow") as report:
                score_candidates.score_shadow(shadow, on_progress=report)
        outcome = {"scored": scored, "model_version": model.version}
    except ModelUnavailable as error:
        problem = error
    with db.transaction("worker") as connection:
        rollups.refresh(connection)
    with db.transaction("worker") as connection:
        monitor.refresh(connection)
    if problem:
        raise problem
    return outcome


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


@app.command(epilog="Example: python -m miles up --port 8600")
def up(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Where the dashboard listens [8501].")] = None,
) -> None:
    """Start the database, a worker and the dashboard; Ctrl-C ends them all."""
    from miles import up as supervisor

    supervisor.up(port, say=lambda line: print(line, flush=True))


@app.command(epilog="Example: DATABASE_URL=postgresql://me@db/miles python -m miles migrate")
def migrate(as_json: Json = False) -> None:
    """Bring the database to this version of Miles (done at every start, too)."""
    applied = db.migrate()
    _answer(as_json, {"applied": applied, "database": db.place()}, "Migrations")


@app.command("import", epilog="Example: python -m miles import videos.csv --map title=Headline --map views=Plays")
def import_(
    files: Annotated[
        list[Path], typer.Argument(help="yt-dlp info JSON, JSON lines, CSV or Parquet.", show_default=False)
    ],
    mapping: Annotated[
        list[str] | None, typer.Option("--map", metavar="OURS=THEIRS", help="A column that Miles does not recognise.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Show what would happen, change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Import videos and their counts from files. Importing a file twice changes nothing."""
    from miles import importing, jobs

    pairs = {}
    for item in mapping or ():
        ours, separator, theirs = item.partition("=")
        if not separator or not ours or not theirs:
            raise typer.BadParameter(
                f"{item!r} is not of the form OURS=THEIRS, e.g. title=Headline", param_hint="--map"
            )
        pairs[ours.strip()] = theirs.strip()
    db.ready()
    with _progress("Importing", TaskProgressColumn()) as report:
        outcome = importing.import_files(
            files, mapping=pairs, dry_run=dry_run, on_progress=lambda at: report(at.fraction, 1.0)
        )
    if not dry_run and outcome.new + outcome.updated:
        with db.transaction("worker") as connection:
            jobs.defer_score(connection)
    for error in outcome.errors:
        people.print(f"{error.file}:{error.line}: {error.reason}", highlight=False, markup=False, soft_wrap=True)
    _answer(as_json, asdict(outcome), "Would import" if dry_run else "Imported")
    if outcome.rejected:
        raise typer.Exit(1)


@app.command(epilog='Example: python -m miles collect "street food" --limit 20')
def collect(
    target: Annotated[str, typer.Argument(help="A topic, a channel (@name), a hashtag (#name) or an address.")],
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many videos at most.")] = 20,
    kind: Annotated[
        str | None,
        typer.Option(help="topic, channel, hashtag, playlist, tiktok or url; else told from the target."),
    ] = None,
    keep: Keep = None,
    language: Language = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Collect videos with yt-dlp now, store them, and score them.

    Where the source may not be asked any more, the collection waits; the same command goes on with it.
    """
    from miles import collecting

    db.ready()
    with _progress("Collecting") as report:
        outcome = collecting.collect(
            target,
            kind=kind or collecting.kind_of(target),
            item_limit=limit,
            asked_by=settings.load().user,
            on_progress=lambda at: report(at.done, at.total),
            keep=keep,
            language=language,
            region=region,
        )
    if not _collected(outcome, f"Collected {target}", as_json):
        raise typer.Exit(1)


def _collected(outcome: "CollectionReport", title: str, as_json: bool) -> bool:
    """Score what a collection brought and say what came of it; whether all of it is well."""
    problem = None
    if outcome.candidate_ids:
        try:
            _score_stored()
        except MilesError as error:  # the videos are in; they will be scored when the model is back
            problem = str(error)
    document = {key: value for key, value in asdict(outcome).items() if key != "items"}
    document["listed_only"] = outcome.listed_only
    _answer(as_json, document, title)
    for item in outcome.items:
        if item.outcome == "failed":
            people.print(f"{item.candidate_id}: {item.reason}", highlight=False, markup=False, soft_wrap=True)
    waits = outcome.state == "waiting"
    if waits:
        people.print(
            f"[bold]Waiting:[/] {outcome.reason} {outcome.pending} videos are still to be read in full; a worker goes on"
            " with them, or this command when it is given again after that.",
            highlight=False,
            soft_wrap=True,
        )
    for reason in filter(None, (None if waits else outcome.reason, problem)):
        people.print(f"[bold red]Error:[/] {reason}", highlight=False, soft_wrap=True)
    return not (outcome.failed or (outcome.reason and not waits) or problem)


@app.command(epilog="Example: python -m miles score --input drafts.csv --output scores.csv")
def score(
    everything: Annotated[bool, typer.Option("--all", help="Score again what is scored already.")] = False,
    input_file: Annotated[
        Path | None, typer.Option("--input", help="Score this file instead (no database needed).")
    ] = None,
    output_file: Annotated[Path | None, typer.Option("--output", help="Where the scores of --input go.")] = None,
    as_json: Json = False,
) -> None:
    """Score the candidates that have no score yet, or the rows of a file."""
    from miles import score_file, scoring

    if (input_file is None) != (output_file is None):
        raise typer.BadParameter("--input and --output go together", param_hint="--input")
    if input_file is not None and everything:
        raise typer.BadParameter("--all is about the database and --input about a file", param_hint="--all")
    if input_file is not None and output_file is not None:
        model = scoring.load(settings.load().model_folder)
        with _progress("Scoring") as report:
            scored = score_file.score_file(input_file, output_file, model, on_progress=report)
        _answer(as_json, {"scored": scored, "model_version": model.version, "output": str(output_file)}, "Scored")
        return

    db.ready()
    _answer(as_json, _score_stored(everything), "Scored")


@app.command(epilog="Example: python -m miles worker --concurrency 2")
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


@app.command(hidden=True)
def dashboard(port: int, parent: int) -> None:
    """The dashboard alone, ending with its parent: what `up` starts."""
    from streamlit.web import cli as streamlit

    from miles.up import end_with

    end_with(parent)
    home_page = str(settings.PROJECT / "Home.py")
    streamlit.main(
        ["run", home_page, "--server.port", str(port), "--server.headless", "true", "--server.fileWatcherType", "none"]
    )


@app.command(epilog="Example: MILES_API_KEYS=… python -m miles api --host 0.0.0.0 --port 8600")
def api(
    host: Annotated[str | None, typer.Option(help="Where to listen [127.0.0.1; 0.0.0.0 where PORT is set].")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="On which port [PORT, else 8600].")] = None,
) -> None:
    """Serve the HTTP API alone: no database, no dashboard. See docs/api.md."""
    from miles import api as serving

    logging.getLogger().setLevel(logging.INFO)
    serving.serve(host, port)


@app.command(epilog="Example: python -m miles clip holiday.mp4 --frames pictures")
def clip(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A video.", show_default=False)],
    frames: Annotated[
        Path | None, typer.Option(file_okay=False, help="A folder for the frames that could be its thumbnail.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a video is like inside: length, cuts, loudness, light. It is not stored, and needs no database."""
    from miles import clip_process, clips

    with file.open("rb") as opened:
        clips.checked(opened)
        probe, found = clip_process.examine(opened)
    if frames is not None:
        frames.mkdir(parents=True, exist_ok=True)
        for one in found:
            (frames / f"{file.stem}-{one.at:07.2f}s.jpg").write_bytes(one.jpeg)
    facts = {**dataclasses.asdict(probe), "cuts_per_minute": probe.cuts_per_minute, "shape": probe.shape}
    facts["frames_at"] = [one.at for one in found]
    _answer(as_json, facts, file.name)


@app.command(epilog='Example: python -m miles recommend --topic "street food" --vibe funny --json')
def recommend(
    topic: Annotated[str, typer.Option(help="What the videos are about.")],
    vibe: Annotated[str, typer.Option(help="How they should feel: funny, calm, dramatic …")] = "",
    number: Annotated[int, typer.Option("--number", "-n", min=1, max=20, help="How many concepts.")] = 5,
    as_json: Json = False,
) -> None:
    """Concepts for a topic and a vibe, each with the videos that back it and its own score."""
    from miles import concepts, registry
    from miles import recommend as recommending

    db.ready()
    answer = recommending.recommend(
        registry.active_model(), concepts.Request(topic, vibe, number=number), user_id=settings.load().user
    )
    document = answer.to_dict()
    if as_json:
        print(json.dumps(document, ensure_ascii=False, default=str))
        return
    Console().print(concepts.to_markdown(answer), markup=False, highlight=False)


@app.command(epilog="Example: python -m miles export --output music.parquet --category Music --min-score 0.5")
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="A file ending in .csv, .parquet or .jsonl.")],
    text: Annotated[str, typer.Option(help="Words in the title.")] = "",
    channel: Annotated[str, typer.Option(help="A channel's key, or words of its name.")] = "",
    platform: Annotated[list[str] | None, typer.Option(help="Repeatable.")] = None,
    format_: Annotated[list[str] | None, typer.Option("--format", help="short, video or live; repeatable.")] = None,
    category: Annotated[list[str] | None, typer.Option(help="Repeatable.")] = None,
    language: Annotated[list[str] | None, typer.Option(help="Repeatable.")] = None,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="viral_score at least.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Write all candidates that match to a file, with their counts, scores and provenance."""
    from miles import export as exporting
    from miles.browse import Filters

    kinds: dict[str, exporting.Format] = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl"}
    kind = kinds.get(output.suffix.lower())
    if kind is None:
        raise typer.BadParameter(f"{output.name} should end in {', '.join(kinds)}", param_hint="--output")
    filters = Filters(
        text=text,
        channel=channel,
        platforms=tuple(platform or ()),
        formats=tuple(format_ or ()),
        categories=tuple(category or ()),
        languages=tuple(language or ()),
        score_from=round(min_score * 100),
    )
    db.ready()
    with _progress("Exporting") as report, db.transaction("viewer") as connection:
        rows = exporting.to_file(connection, output, kind, filters=filters, on_progress=lambda done: report(done, None))
    _answer(as_json, {"exported": rows, "output": str(output)}, "Exported")


@app.command(epilog="Example: python -m miles sample --remove")
def sample(
    remove: Annotated[bool, typer.Option("--remove", help="Remove the sample; real videos stay untouched.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed invents the same videos.")] = 7,
    as_json: Json = False,
) -> None:
    """Load about 2,000 invented videos to try Miles with; every page says that they are a sample."""
    from miles import sample as samples

    db.ready()
    if remove:
        _answer(as_json, {"removed": samples.remove()}, "Sample")
        return
    with _progress("Inventing videos") as report:
        loaded = samples.load(seed=seed, on_progress=report)
    _answer(as_json, {"loaded": loaded, **_score_stored()}, "Sample")


@app.command(epilog="Example: python -m miles status --json")
def status(as_json: Json = False) -> None:
    """What is in the database, how fresh it is, and how the jobs stand."""
    from miles import operations

    db.ready()
    with db.transaction("viewer") as connection:
        state = operations.status(connection)
    _answer(as_json, {**asdict(state), "database": db.place(), "home": str(settings.load().home)}, "Miles")


@app.command(epilog="Example: python -m miles health --canary youtube")
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
        print(json.dumps({"yt_dlp": asdict(installed), "sources": [asdict(one) for one in listed]}, default=str))
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
            people.print(f"{one.source}: {reason}", highlight=False, markup=False, soft_wrap=True)
    if not all(one.well for one in listed):
        raise typer.Exit(1)


@watched.command("add", epilog='Example: python -m miles watch add "street food" --every 12h --keep "duration <= 180"')
def watch_add(
    target: Annotated[str, typer.Argument(help="A topic, a channel (@name), a hashtag (#name) or an address.")],
    every: Annotated[str, typer.Option(help="How often: hours, days or weeks, from 1h to 31d.")] = "6h",
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many videos a run lists at most.")] = 20,
    read: Annotated[
        int | None, typer.Option(min=0, max=500, help="How many of them it reads in full at most [all].")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="topic, channel, hashtag, playlist, tiktok or url; else told from the target."),
    ] = None,
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
    _answer(as_json, _entry(entry), f"{'Added' if new else 'Changed'}; a worker collects it when it is due")


@watched.command("list", epilog="Example: python -m miles watch list --json")
def watch_list(as_json: Json = False) -> None:
    """What is watched, how often, when next, and what came of the last run."""
    from miles import watchlist

    db.ready()
    with db.transaction("viewer") as connection:
        listed = watchlist.entries(connection)
    if as_json:
        print(json.dumps({"watchlist": [_entry(one) for one in listed]}, ensure_ascii=False, default=str))
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


@watched.command("remove", epilog='Example: python -m miles watch remove "street food"')
def watch_remove(name: Named, as_json: Json = False) -> None:
    """Stop watching something; what was collected stays."""
    from miles import watchlist

    _change_entry(name, watchlist.remove, "Removed", as_json)


@watched.command("pause", epilog="Example: python -m miles watch pause 3")
def watch_pause(name: Named, as_json: Json = False) -> None:
    """Begin no more runs of it until it is resumed."""
    from miles import watchlist

    _change_entry(name, watchlist.pause, "Paused", as_json)


@watched.command("resume", epilog="Example: python -m miles watch resume 3")
def watch_resume(name: Named, as_json: Json = False) -> None:
    """Go on with what was paused; what it missed is made up once."""
    from miles import watchlist

    _change_entry(name, watchlist.resume, "Resumed", as_json)


@watched.command("run", epilog="Example: python -m miles watch run")
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
        with _progress("Collecting") as bar:
            reports.append(collecting.carry_out(collection_id, on_progress=_shown(bar), again=False))
    if as_json:
        print(json.dumps({"ran": [_ran(one) for one in reports]}, ensure_ascii=False, default=str))
    else:
        table = Table("target", "state", "found", "new", "updated", "skipped", "failed", "pending")
        for one in reports:
            counts = (one.found, one.new, one.updated, one.skipped, one.failed, one.pending)
            table.add_row(escape(one.target), one.state, *map(str, counts))
        Console().print(table if reports else "Nothing is due.")
    for one in reports:
        if one.reason:
            people.print(f"{one.target}: {one.reason}", highlight=False, markup=False, soft_wrap=True)
    if any(one.candidate_ids for one in reports):
        _score_stored()
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
    _answer(as_json, {"watch_id": entry.watch_id, "target": entry.target, "done": done.lower()}, done)


def _entry(entry: "Entry") -> dict[str, Any]:
    """An entry of the watchlist as it is printed."""
    from miles import watchlist

    return {**asdict(entry), "every": watchlist.as_written(entry.every), "most_requests": entry.most_requests}


def _ran(report: "CollectionReport") -> dict[str, Any]:
    return {key: value for key, value in asdict(report).items() if key != "items"}


@app.command(epilog="Example: python -m miles tidy --json")
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
    with _progress("Cleaning up") as report:
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
    _answer(as_json, document, "Would go" if dry_run else "Cleaned up")


@app.command(epilog="Example: python -m miles remove https://www.youtube.com/@somebody --yes")
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
        _answer(as_json, {"kind": stone.kind, "key": stone.key}, "May be collected again")
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
        _answer(as_json, asdict(removed), "Removed")


def _list_removed(stones: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"removed": stones}, ensure_ascii=False, default=str))
        return
    table = Table(title="Removed, and kept out", title_justify="left")
    for heading in ("kind", "key", "removed", "by", "reason"):
        table.add_column(heading, no_wrap=heading == "key")
    for stone in stones:
        when = f"{stone['removed_at']:%Y-%m-%d %H:%M}" + ("" if stone["deleted_at"] else " (being deleted)")
        table.add_row(stone["kind"], stone["key"], when, stone["removed_by"], stone["reason"] or "–")
    Console().print(table)


@models.command("list", epilog="Example: python -m miles model list --json")
def list_models(as_json: Json = False) -> None:
    """The versions that this database knows: state, when made, what they reached, how much they scored."""
    from miles import registry

    db.ready()
    with db.transaction("worker") as connection:
        try:
            registry.adopt(connection)
        except ModelUnavailable as error:
            people.print(f"[bold red]Error:[/] {error}", highlight=False, soft_wrap=True)
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
        print(json.dumps({"versions": listed}, ensure_ascii=False, default=str))
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


@models.command(epilog="Example: python -m miles model activate build/model")
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
    _answer(as_json, {"version": version.version, "state": version.state, "folder": str(kept)}, "In force")


@models.command(epilog="Example: python -m miles model rollback")
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
    _answer(as_json, {"version": version.version, "state": version.state, "left": left}, "In force again")


@models.command(epilog="Example: python -m miles model verify model")
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
        print(json.dumps(document, ensure_ascii=False))
    elif not problems:
        print(f"Model {version} in {folder} is whole and scores as when it was made.")
    for problem in problems:
        people.print(problem, highlight=False, markup=False, soft_wrap=True)
    if problems:
        raise typer.Exit(1)


@models.command(epilog="Example: python -m miles model shadow build/model")
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
    _answer(as_json, {"shadow": version}, "Shadow")


def _verified(name: str) -> Path:
    """The folder of a version or path, verified. Raises MilesError with everything that is wrong."""
    from miles import registry

    folder = registry.find(name)
    problems = registry.verify(folder)
    if problems:
        raise ModelUnavailable(f"The model in {folder} is not used: {' '.join(problems)}")
    return folder
