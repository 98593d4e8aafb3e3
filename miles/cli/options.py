"""Arguments and options that several commands share."""

from typing import Annotated

import typer

Target = Annotated[str, typer.Argument(help="A topic, a channel (@name), a hashtag (#name) or an address.")]
Kind = Annotated[
    str | None, typer.Option(help="topic, channel, hashtag, playlist, tiktok or url; else told from the target.")
]
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
