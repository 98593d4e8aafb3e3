"""A clip looked at, and concepts for the next one."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from miles import db, settings
from miles.cli.answers import answer, print_json
from miles.cli.options import Json

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


@commands.command(epilog='Example: python -m miles recommend --topic "street food" --vibe funny --json')
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
    made = recommending.recommend(
        registry.active_model(), concepts.Request(topic, vibe, number=number), user_id=settings.load().user
    )
    if as_json:
        print_json(made.to_dict())
        return
    Console().print(concepts.to_markdown(made), markup=False, highlight=False)
