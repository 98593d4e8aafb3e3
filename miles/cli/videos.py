"""Videos on their way in, through the model, and out."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miles import db, settings
from miles.cli.answers import answer, complain, people, progress, remark
from miles.cli.options import Json, Keep, Kind, Language, Region, Target
from miles.errors import MilesError, ModelUnavailable

if TYPE_CHECKING:
    from miles.collecting import CollectionReport

commands = typer.Typer()


@commands.command("import", epilog="Example: python -m miles import videos.csv --map title=Headline --map views=Plays")
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
    with progress("Importing", percent=True) as report:
        outcome = importing.import_files(
            files, mapping=pairs, dry_run=dry_run, on_progress=lambda at: report(at.fraction, 1.0)
        )
    if not dry_run and outcome.new + outcome.updated:
        with db.transaction("worker") as connection:
            jobs.defer_score(connection)
    for error in outcome.errors:
        remark(f"{error.file}:{error.line}: {error.reason}")
    answer(as_json, asdict(outcome), "Would import" if dry_run else "Imported")
    if outcome.rejected:
        raise typer.Exit(1)


@commands.command(epilog='Example: python -m miles collect "street food" --limit 20')
def collect(
    target: Target,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many videos at most.")] = 20,
    kind: Kind = None,
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
    with progress("Collecting") as report:
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
            score_stored()
        except MilesError as error:  # the videos are in; they will be scored when the model is back
            problem = str(error)
    answer(as_json, {**told(outcome), "listed_only": outcome.listed_only}, title)
    for item in outcome.items:
        if item.outcome == "failed":
            remark(f"{item.candidate_id}: {item.reason}")
    waits = outcome.state == "waiting"
    if waits:
        people.print(
            f"[bold]Waiting:[/] {outcome.reason} {outcome.pending} videos are still to be read in full; a worker goes on"
            " with them, or this command when it is given again after that.",
            highlight=False,
            soft_wrap=True,
        )
    for reason in filter(None, (None if waits else outcome.reason, problem)):
        complain(reason)
    return not (outcome.failed or (outcome.reason and not waits) or problem)


def told(report: "CollectionReport") -> dict[str, Any]:
    """What came of a collection, without its single videos."""
    return {key: value for key, value in asdict(report).items() if key != "items"}


@commands.command(epilog="Example: python -m miles score --input drafts.csv --output scores.csv")
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
        with progress("Scoring") as report:
            scored = score_file.score_file(input_file, output_file, model, on_progress=report)
        answer(as_json, {"scored": scored, "model_version": model.version, "output": str(output_file)}, "Scored")
        return

    db.ready()
    answer(as_json, score_stored(everything), "Scored")


def score_stored(everything: bool = False) -> dict[str, Any]:
    """Score what the database holds: measure before, sum up after (without a model, too: then it raises)."""
    from miles import jobs, monitor, registry, rollups, score_candidates

    problem: ModelUnavailable | None = None
    outcome: dict[str, Any] = {"scored": 0}
    try:
        model = registry.active_model()
        with db.transaction("worker") as connection:
            rollups.measure(connection)
        with progress("Scoring") as report:
            scored = score_candidates.score_pending(model, everything=everything, on_progress=report)
        shadow = jobs.shadow_model()
        if shadow is not None:
            with progress("Scoring in shadow") as report:
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


@commands.command(epilog="Example: python -m miles export --output music.parquet --category Music --min-score 0.5")
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
    with progress("Exporting") as report, db.transaction("viewer") as connection:
        rows = exporting.to_file(connection, output, kind, filters=filters, on_progress=lambda done: report(done, None))
    answer(as_json, {"exported": rows, "output": str(output)}, "Exported")


@commands.command(epilog="Example: python -m miles sample --remove")
def sample(
    remove: Annotated[bool, typer.Option("--remove", help="Remove the sample; real videos stay untouched.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed invents the same videos.")] = 7,
    as_json: Json = False,
) -> None:
    """Load about 2,000 invented videos to try Miles with; every page says that they are a sample."""
    from miles import sample as samples

    db.ready()
    if remove:
        answer(as_json, {"removed": samples.remove()}, "Sample")
        return
    with progress("Inventing videos") as report:
        loaded = samples.load(seed=seed, on_progress=report)
    answer(as_json, {"loaded": loaded, **score_stored()}, "Sample")
