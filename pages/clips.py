"""Clips: a video before it is published, its facts, its cuts, and its frames scored as thumbnails."""

from miles import clips, db, settings
from ui import clips as parts
from ui import data, page

user = settings.load().user
page.header(
    "Clips",
    "A video before it is published: what it is like inside, and which of its frames makes the best thumbnail.",
    help=f"Clips are yours alone. They are kept in this installation's storage and read by its worker. {data.where_scored()}",
)
parts.upload(user)

with db.transaction("viewer", user) as connection:
    mine = clips.clips(connection)
chosen = parts.choose(mine)
if chosen is None:
    parts.nothing_yet()
elif chosen.state == "failed":
    parts.failed(chosen, user)
elif chosen.probe is None:
    parts.following(chosen.clip_id, user)
else:
    with db.transaction("viewer", user) as connection:
        kept = clips.frames(connection, chosen.clip_id)
    parts.facts(chosen.probe)
    parts.ranked(chosen, kept)
    parts.timeline(chosen.probe, kept)
    parts.advice(chosen.probe)
if chosen is not None:
    parts.about(chosen, user)
