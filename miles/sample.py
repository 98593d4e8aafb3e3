"""Sample data: invented channels and videos to try Miles with before collecting anything.

About 2,000 videos of 60 channels, the same for the same seed, moved in time so that they end now. Every row is
marked (`sample`, platform "sample"), so that pages can say so and `remove` takes all of it away, and nothing
else. The videos grow along plausible curves, and some properties of a title change how well a video does
(EFFECTS), so that the title patterns have something true to find.
"""

import io
import logging
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sqlalchemy import Connection

from miles import db, patterns, rollups, thumbnails
from miles.candidates import Candidate, Channel, MediaType, Observation, Snapshot
from miles.store import announce, copy, observe, run

logger = logging.getLogger(__name__)

PLATFORM = "sample"
SOURCE = "sample"
LOCK = 0x73616D706C65  # advisory lock key ("sample")
CHANNELS_PER_NICHE = 5
VIDEOS_PER_CHANNEL = (27, 40)
PUBLISHED_WITHIN = 75.0  # days before now
COLLECTED_FOR = 42.0  # days: since then the invented collector looks at everything
REVISITS = (0.25, 1.0, 3.0, 7.0)  # days of age, as Miles' own collector does
SWEEP_EVERY = 7.0  # days between looks at older videos
PICTURES_AT_ONCE = 100  # thumbnails drawn, then kept, then told of

# ln of the factor on a video's views; the names are those of patterns.RULES. All others have none.
EFFECTS = {
    "POV": 0.45,
    "List number at the start": 0.30,
    "Versus": 0.30,
    "Question": 0.20,
    "Hashtag": -0.20,
    "Episode or part": -0.45,
}


@dataclass(frozen=True, slots=True)
class Niche:
    """What some of the invented channels are about."""

    name: str
    category: str
    language: str
    subjects: tuple[str, ...]
    places: tuple[str, ...]
    color: tuple[int, int, int]


NICHES = (
    Niche("Street food", "Howto & Style", "en", ("fried noodles", "dumplings", "corn fritters", "mango ice", "flatbread", "chili skewers", "rice cakes", "lentil soup"), ("the night market", "the harbour", "a tiny cart", "the old town"), (226, 88, 34)),
    Niche("Home workouts", "Sports", "en", ("push-ups", "a plank", "jump rope", "one-leg squats", "stretching", "handstands", "stair sprints", "band rows"), ("a small room", "the park", "a hotel room", "the balcony"), (34, 139, 94)),
    Niche("Budget travel", "Travel & Events", "en-gb", ("night trains", "hostel cooking", "city walks", "ferry decks", "island hopping", "packing light", "border towns", "free museums"), ("the north coast", "the mountains", "an old capital", "the desert road"), (30, 120, 190)),
    Niche("Indie games", "Gaming", "en", ("a pixel boss", "speedruns", "a cozy farm", "puzzle rooms", "a dragon level", "crafting", "hidden caves", "a tower defence"), ("hard mode", "the last level", "co-op", "the first hour"), (110, 64, 201)),
    Niche("Woodworking", "Howto & Style", "en", ("dovetails", "a walnut bowl", "pallet shelves", "hand planes", "a tiny stool", "epoxy tables", "sharpening", "a spoon"), ("a garage", "one evening", "a small shop", "the garden shed"), (139, 90, 43)),
    Niche("Study tips", "Education", "en-in", ("flash cards", "mind maps", "past papers", "deep focus", "note taking", "speed reading", "mock exams", "group study"), ("the library", "exam week", "one weekend", "the bus"), (64, 92, 168)),
    Niche("Pets", "Pets & Animals", "en", ("a rescue cat", "puppy training", "a parrot", "aquarium plants", "a shy hamster", "dog agility", "kitten naps", "a clever crow"), ("the kitchen", "the vet", "a rainy day", "the first night"), (233, 150, 60)),
    Niche("Personal money", "Education", "en-gb", ("index funds", "a cash diary", "side jobs", "cheap dinners", "rent talks", "emergency savings", "small debts", "bike commutes"), ("your twenties", "a big city", "one year", "a bad month"), (20, 110, 90)),
    Niche("Kitchen science", "Science & Technology", "en", ("red cabbage ink", "salt crystals", "a lemon battery", "baking soda rockets", "egg drops", "magnet slime", "frozen bubbles", "paper bridges"), ("the freezer", "a jam jar", "slow motion", "the classroom"), (0, 140, 170)),
    Niche("Bedroom covers", "Music", "en", ("an acoustic cover", "a loop pedal", "four chords", "a rainy piano", "a vocal stack", "lo-fi drums", "a ukulele hook", "a bass line"), ("one take", "my closet", "the rooftop", "midnight"), (190, 50, 110)),
    Niche("Office comedy", "Comedy", "en", ("the long meeting", "reply all", "the new intern", "printer trouble", "team building", "lunch thieves", "Monday calls", "the quiet boss"), ("the elevator", "the kitchen corner", "a video call", "the car park"), (240, 180, 30)),
    Niche("Cocina casera", "Howto & Style", "es", ("tortilla", "arroz con leche", "pan sin horno", "salsa verde", "empanadas", "sopa de ajo", "flan", "tacos de papa"), ("casa", "la abuela", "diez minutos", "el domingo"), (200, 60, 50)),
)  # fmt: skip

FRAMES = {
    "en": (
        "{Subject} in {place}", "{Subject}, the slow way", "What nobody says about {subject}", "{Subject} from zero",
        "{Subject} after a bad day", "The truth about {subject}", "Quiet {bare} for tired people",
        "{n} {bare} ideas from {place}", "{n} signs that {subject} works", "Why does {subject} feel so hard?",
        "Is {subject} worth it?", "{Subject} vs {other}", "POV: {subject} in {place}", "POV: first time with {subject}",
        "How to start with {subject}", "The best {bare} so far", "{Subject}, part {n}", "{Subject} ep. {n}: {place}",
        "STOP rushing {subject}", "My {bare} routine", "I tried {subject} in {place}", "{Place}: {subject} again",
    ),
    "es": (
        "{Subject} en {place}", "{Subject} paso a paso", "El secreto: {subject}", "{Subject} para hoy",
        "{n} trucos con {subject}", "¿Por qué falla {subject}?", "{Subject} vs {other}", "POV: {subject} en {place}",
        "{Subject}, parte {n}", "Mi {subject} favorita", "La mejor {subject}", "{Subject} sin gastar",
    ),
}  # fmt: skip
# What may follow, and how often.
TAILS = (("", 0.58), ("!", 0.10), (" 🔥", 0.08), (" {tag}", 0.12), (" (full version)", 0.07), (" …", 0.05))
NAMES = ("Nora", "Ivo", "Tam", "Lea", "Odin", "Maya", "Pax", "Rumi", "Suri", "Kai", "Zoe", "Finn", "Ada", "Bo", "Ines")
NAME_ENDS = ("Daily", "Lab", "Corner", "Diary", "Club", "Minutes", "Studio", "Stories", "at Home", "Unplugged")


@dataclass(frozen=True, slots=True)
class Invented:
    """One invented video before it has a date: ages in days, times relative to now."""

    channel: Channel
    niche: Niche
    video_id: str
    title: str
    media_type: MediaType
    duration: float  # seconds
    age: float  # days
    looks: tuple[tuple[float, int, int, int], ...]  # (days before now, views, likes, comments), oldest first


def load(seed: int = 7, on_progress: Callable[[int, int], object] | None = None, now: datetime | None = None) -> int:
    """Make the sample, and measure and summarise it; returns how many videos came in.

    Where a sample is loaded already, nothing changes and 0 is returned. All of it comes in or, on an error,
    none. Scoring is the caller's.
    """
    tell = on_progress or (lambda done, total: None)
    now = now or datetime.now(UTC)
    with db.transaction("worker") as connection:
        run(connection, f"SELECT pg_advisory_xact_lock({LOCK})")
        if run(connection, "SELECT FROM candidates WHERE sample LIMIT 1").fetchone() is not None:
            return 0
        videos = list(invent(seed))
        tell(0, len(videos))
        observe(connection, (seen for video in videos for seen in observations(video, now)), sample=True)
        _write_thumbnails(connection, videos, seed, now, tell)
        rollups.refresh(connection, everything=True)
        return len(videos)


def remove() -> int:
    """Take every sample row and its pictures away, and nothing else; returns how many videos went."""
    with db.transaction("worker") as connection:
        run(connection, f"SELECT pg_advisory_xact_lock({LOCK})")
        # The roll-up writes on these rows, too: its lock first, then the rows in the order of every writer.
        run(connection, f"SELECT pg_advisory_xact_lock({rollups.LOCK})")
        announce(connection)
        run(connection, "SELECT FROM candidates WHERE sample ORDER BY candidate_id FOR UPDATE")
        pictures = run(
            connection,
            "SELECT DISTINCT sha256 FROM thumbnails JOIN candidates USING (candidate_id) WHERE sample AND sha256 IS NOT NULL",
        ).fetchall()
        # snapshots, scores and thumbnails go with their candidate
        removed = run(connection, "DELETE FROM candidates WHERE sample").rowcount
        channels = run(
            connection,
            "DELETE FROM channels WHERE sample"
            " AND NOT EXISTS (SELECT FROM candidates WHERE candidates.channel_key = channels.channel_key)",
        ).rowcount
        if removed or channels:
            rollups.refresh(connection, everything=True)
    # only once the rows are gone for good: a picture without a row is litter, a row without its picture a defect
    thumbnails.let_go(key for (key,) in pictures)
    return removed


def invent(seed: int) -> Iterator[Invented]:
    """The invented videos, channel by channel; the same for the same seed."""
    rng = random.Random(seed)
    names = [f"{name} {end}" for name in NAMES for end in NAME_ENDS]
    rng.shuffle(names)
    for number in range(len(NICHES) * CHANNELS_PER_NICHE):
        niche = NICHES[number // CHANNELS_PER_NICHE]
        level = rng.gauss(
            12.0, 1.6
        )  # ln of the views that a video of this channel ends with: 160K, as trending ones have
        channel = Channel(
            platform=PLATFORM,
            channel_id=f"{seed}-{number + 1:02d}",
            name=names[number],
            followers=round(math.exp(level + rng.gauss(1.2, 0.5))),
        )
        shorts = rng.choice((0.15, 0.5, 0.85))  # most channels have a main format
        for position in range(rng.randint(*VIDEOS_PER_CHANNEL)):
            yield _invent_video(rng, channel, niche, f"{seed}-{number + 1:02d}-{position + 1:03d}", level, shorts)


def _invent_video(
    rng: random.Random, channel: Channel, niche: Niche, video_id: str, level: float, shorts: float
) -> Invented:
    title = _title(rng, niche)
    short = rng.random() < shorts
    effect = sum(EFFECTS.get(patterns.RULES[rule].name, 0.0) for rule in patterns.structure(title))
    final = math.exp(level + 0.4 * short + effect + rng.gauss(0, 0.55))
    days_to_grow, bend = math.exp(rng.gauss(0.7, 0.5)), rng.uniform(0.6, 0.9)
    liked, talked = math.exp(rng.gauss(-3.2, 0.4)), math.exp(rng.gauss(-6.0, 0.6))
    age = 0.12 + (PUBLISHED_WITHIN - 0.12) * rng.random() ** 1.3
    looks = []
    for look in _look_ages(rng, age):
        # most of it in the first days, then ever more slowly, but never to a halt
        views = round(final * (1 - math.exp(-((look / days_to_grow) ** bend)) + 0.12 * math.log1p(look / 7)))
        looks.append((age - look, views, round(views * liked), round(views * talked)))
    return Invented(
        channel=channel,
        niche=niche,
        video_id=video_id,
        title=title,
        media_type="short" if short else "video",
        duration=float(rng.randint(12, 60) if short else rng.randint(120, 1500)),
        age=age,
        looks=tuple(looks),
    )


def _look_ages(rng: random.Random, age: float) -> list[float]:
    """At which ages the invented collector looked: at the re-visits, every week, and shortly before now."""
    started = max(age - COLLECTED_FOR, 0.0)
    newest = age - rng.uniform(0.0, min(0.2, age / 2))
    planned = [day * rng.uniform(1.0, 1.15) for day in REVISITS]
    planned += [REVISITS[-1] + SWEEP_EVERY * (week + rng.uniform(0.9, 1.1)) for week in range(12)]
    return sorted({look for look in planned if started <= look <= newest - 0.1} | {newest})


def _title(rng: random.Random, niche: Niche) -> str:
    language = niche.language.split("-")[0]
    subject, other = rng.sample(niche.subjects, 2)
    place = rng.choice(niche.places)
    (tail,) = rng.choices([text for text, _ in TAILS], [weight for _, weight in TAILS])
    frame = rng.choice(FRAMES[language]) + tail
    return frame.format(
        subject=subject,
        Subject=subject[0].upper() + subject[1:],
        bare=subject.removeprefix("a ").removeprefix("an ").removeprefix("the "),
        other=other,
        place=place,
        Place=place[0].upper() + place[1:],
        n=rng.randint(3, 15),
        tag="#" + niche.name.replace(" ", "").lower(),
    )


def observations(video: Invented, now: datetime) -> Iterator[Observation]:
    """What the invented collector saw of a video."""
    candidate = Candidate(
        platform=PLATFORM,
        video_id=video.video_id,
        title=video.title,
        description=f"An invented video about {video.niche.name.lower()}, made by Miles to try it with.",
        channel=video.channel,
        category=video.niche.category,
        duration=video.duration,
        language=video.niche.language,
        media_type=video.media_type,
        published_at=now - timedelta(days=video.age),
        tags=(video.niche.name.lower(), "sample"),
    )
    for before, views, likes, comments in video.looks:
        yield Observation(candidate, Snapshot(now - timedelta(days=before), views, likes, comments), "full", SOURCE)


# --- thumbnails -------------------------------------------------------------------------------------


def _write_thumbnails(
    connection: Connection, videos: list[Invented], seed: int, now: datetime, tell: Callable[[int, int], object]
) -> None:
    columns = ("candidate_id", "sha256", "content_type", "width", "height", "bytes", "state", "fetched_at")
    pins: list[int] = []
    with copy(db.psycopg_connection(connection).cursor(), "thumbnails", columns) as rows:
        for start in range(0, len(videos), PICTURES_AT_ONCE):
            some = videos[start : start + PICTURES_AT_ONCE]
            pictures = [draw(video, seed) for video in some]
            kept = thumbnails.keep_all(pictures)
            pins += [one.pin for one in kept]
            for video, picture, one in zip(some, pictures, kept, strict=True):
                width, height = _size(video.media_type)
                rows.write_row((
                    f"{PLATFORM}:{video.video_id}", one.sha256, f"image/{_format(video.media_type)}",
                    width, height, len(picture), "stored", now,
                ))  # fmt: skip
            tell(start + len(some), len(videos))
    thumbnails.release(connection, pins)


def draw(video: Invented, seed: int) -> bytes:
    """A thumbnail: a gradient, some shapes, two words of the title. WebP upright, JPEG lengthwise."""
    rng = random.Random(f"{seed} {video.video_id}")
    width, height = _size(video.media_type)
    picture = _gradient(rng, video.niche.color, width, height)
    pen = ImageDraw.Draw(picture, "RGBA")
    for _ in range(rng.randint(3, 7)):
        x, y, reach = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.08, 0.35) * min(width, height)
        fill = (*_shade(rng, video.niche.color), rng.randint(90, 200))
        shape = rng.random()
        if shape < 0.45:
            pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=fill)
        elif shape < 0.75:
            pen.rounded_rectangle((x - reach, y - reach / 2, x + reach, y + reach / 2), radius=reach / 5, fill=fill)
        else:
            turn = rng.uniform(0, math.tau)
            corners = [turn + math.tau * corner / 3 for corner in range(3)]
            pen.polygon([(x + reach * math.cos(a), y + reach * math.sin(a)) for a in corners], fill=fill)
    # the built-in font has Latin letters only
    words = [word.strip(".,:!?()#") for word in video.title.split() if word.isascii()]
    words = [word for word in words if len(word) > 2 and word.lower() not in patterns.STOP_WORDS] or [video.niche.name]
    caption = "\n".join(word.upper() for word in words[: 2 if width > height else 3])
    font = _font(round(min(width, height) * 0.19))
    left, top, right, bottom = pen.multiline_textbbox((0, 0), caption, font=font, stroke_width=3)
    shrink = min(1.0, 0.9 * width / (right - left))
    if shrink < 1.0:
        font = _font(round(min(width, height) * 0.19 * shrink))
        left, top, right, bottom = pen.multiline_textbbox((0, 0), caption, font=font, stroke_width=3)
    at = ((width - right - left) / 2, height - (bottom - top) - 0.12 * height - top)
    pen.multiline_text(at, caption, font=font, fill="white", stroke_width=3, stroke_fill=(20, 20, 24), align="center")
    encoded = io.BytesIO()
    # the fastest that these encoders go: a sample is made while someone waits
    picture.save(encoded, _format(video.media_type), quality=80, method=0)
    return encoded.getvalue()


def _format(media_type: MediaType) -> str:
    return "webp" if media_type == "short" else "jpeg"


def _size(media_type: MediaType) -> tuple[int, int]:
    return (225, 400) if media_type == "short" else (400, 225)


def _shade(rng: random.Random, color: tuple[int, int, int]) -> tuple[int, int, int]:
    """The niche's colour, lighter or darker, or its opposite."""
    base = color if rng.random() < 0.7 else tuple(255 - part for part in color)
    light = rng.uniform(-70, 90)
    red, green, blue = (max(0, min(255, round(part + light))) for part in base)
    return red, green, blue


def _gradient(rng: random.Random, color: tuple[int, int, int], width: int, height: int) -> Image.Image:
    start, end = np.array(_shade(rng, color), np.float32), np.array(_shade(rng, color), np.float32)
    turn = rng.uniform(0, math.tau)
    # drawn small and enlarged: a gradient looks the same, in a tenth of the time
    across = np.linspace(-1, 1, 32, dtype=np.float32)[None, :] * np.float32(math.cos(turn))
    down = np.linspace(-1, 1, 32, dtype=np.float32)[:, None] * np.float32(math.sin(turn))
    mix = ((across + down) / 2.83 + 0.5)[..., None]
    small = Image.fromarray((start * (1 - mix) + end * mix).astype(np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
