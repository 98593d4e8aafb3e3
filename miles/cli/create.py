"""A clip looked at, and concepts for the next one."""

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from miles import db, settings
from miles.cli.answers import answer, doing, print_json, remark
from miles.cli.options import Json
from miles.errors import MilesError

if TYPE_CHECKING:
    from miles.concepts import Recommendation

commands = typer.Typer()


@commands.command(epilog="Example: python -m miles clip holiday.mp4 --frames pictures")
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
    facts = {**asdict(probe), "cuts_per_minute": probe.cuts_per_minute, "shape": probe.shape}
    facts["frames_at"] = [one.at for one in found]
    answer(as_json, facts, file.name)


@commands.command(epilog='Example: python -m miles recommend --topic "street food" --vibe funny --output ideas.md')
def recommend(
    topic: Annotated[str, typer.Option(help="What the videos are about.")],
    vibe: Annotated[str, typer.Option(help="How they should feel: funny, calm, dramatic …")] = "",
    number: Annotated[int, typer.Option("--number", "-n", min=1, max=20, help="How many concepts.")] = 5,
    platform: Annotated[str | None, typer.Option(help="Whose videos they rest on, e.g. youtube.")] = None,
    language: Annotated[str | None, typer.Option(help="Of the videos and of the titles, e.g. ja.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no language model, though one is set.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask the language model again, though it answered the same today.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="A file ending in .md, .csv or .json.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Concepts for a topic and a vibe, each with the videos that back it and its own score."""
    from miles import concepts, registry
    from miles import recommend as recommending

    if output is not None and output.suffix.lower() not in WRITERS:
        raise typer.BadParameter(f"{output.name} should end in {', '.join(WRITERS)}", param_hint="--output")
    db.ready()
    with doing("Looking for videos on the topic") as describe:
        made = recommending.recommend(
            registry.active_model(),
            concepts.Request(topic, vibe, platform, language, number),
            user_id=settings.load().user,
            offline=offline,
            fresh=fresh,
            seed=secrets.randbelow(2**31) if fresh else 0,  # offline only another seed makes other concepts
            on_progress=describe,
        )
    if made.cached:
        remark(f"Answered from what was kept of {made.asked_at:%Y-%m-%d %H:%M} UTC; --fresh asks anew.")
    if output is not None:
        try:
            output.write_bytes(WRITERS[output.suffix.lower()](made))
        except OSError as error:
            raise MilesError(
                f"{output} can't be written ({error.strerror}). The concepts are kept as request {made.query_id}: open them"
                " on the Recommendations page."
            ) from error
        answer(
            as_json,
            {
                "concepts": len(made.concepts),
                "output": str(output),
                "generator": made.generator,
                "request": made.query_id,
            },
            "Written",
        )
    elif as_json:
        print_json(made.to_dict())
    else:
        Console().print(concepts.to_markdown(made), markup=False, highlight=False)


def _as_markdown(made: "Recommendation") -> bytes:
    from miles import concepts

    return concepts.to_markdown(made).encode()


def _as_csv(made: "Recommendation") -> bytes:
    from miles import concepts

    return concepts.to_csv(made).encode("utf-8-sig")  # the mark that spreadsheets look for


def _as_json(made: "Recommendation") -> bytes:
    return json.dumps(made.to_dict(), ensure_ascii=False, default=str, indent=1).encode() + b"\n"


WRITERS: "dict[str, Callable[[Recommendation], bytes]]" = {".md": _as_markdown, ".csv": _as_csv, ".json": _as_json}
