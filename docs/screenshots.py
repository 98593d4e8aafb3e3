"""The pictures of the documentation, from the real dashboard with the invented sample data.

    make screenshots            # or: python docs/screenshots.py [--only trending scores]

Loads the sample into a fresh home, scores it with the shipped model, serves the dashboard and opens each page in the
Chromium of the browser tests. Writes docs/images/*.png; nothing but invented titles is in them.
"""

import argparse
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), *(str(PROJECT / "tests" / folder) for folder in ("browser", ""))]

from reading import open_page, reader, serving, settle  # noqa: E402  # beside the browser tests

IMAGES = PROJECT / "docs" / "images"
COLOURS = 256  # of a picture: half the bytes, and nobody sees it
NICHES = {
    "Street food": "q=noodles+OR+dumplings+OR+skewers&within=90+days",
    "Home workouts": "category=Sports&within=90+days",
}


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture."""

    name: str
    path: str  # address below the dashboard's
    width: int = 1440
    height: int = 1100
    scheme: str = "light"
    act: Callable[[Page], None] | None = None  # before it is taken


def _ask_for_concepts(page: Page) -> None:
    page.get_by_role("button", name="Get concepts").click()
    page.get_by_role("heading", name=re.compile(r"concepts? on")).wait_for()


def _open_first(page: Page) -> None:
    page.get_by_role("button", name="Details", exact=True).first.click()
    page.get_by_role("dialog").wait_for()


SHOTS = (
    Shot("home", ""),
    Shot("home-dark", "", scheme="dark"),
    Shot("home-phone", "", width=390, height=844),
    Shot("trending", "trending"),
    Shot("trending-dark", "trending", scheme="dark"),
    Shot("trending-table", "trending?view=Table"),
    Shot("trending-phone", "trending", width=390, height=844),
    Shot("details", "trending?sort=By+views", act=_open_first),
    Shot("scores", "scores"),
    Shot("scores-dark", "scores", scheme="dark"),
    Shot("title-patterns", "title_patterns"),
    Shot("title-patterns-phone", "title_patterns", width=390, height=844, scheme="dark"),
    Shot("score-lab", "score_lab?draft=I+tried+street+food+in+24+hours&title=Street+food+under+one+dollar"),
    Shot("recommendations", "recommendations?topic=street+food&vibe=Funny", act=_ask_for_concepts),
    Shot("operations", "operations"),
    Shot("model", "model?show=About"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="names of pictures")
    given = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="miles-screenshots-") as folder:
        for name in [name for name in os.environ if name.startswith(("MILES_", "OPENAI_")) or name == "DATABASE_URL"]:
            if name != "MILES_CHROMIUM":
                del os.environ[name]
        os.environ["MILES_HOME"] = folder
        address = _fill()
        with serving(address, Path(folder), Path(folder) / "log") as dashboard, sync_playwright() as playwright:
            chromium = playwright.chromium.launch(
                executable_path=os.environ.get("MILES_CHROMIUM") or which("chromium"), args=["--no-sandbox"]
            )
            for shot in SHOTS:
                if not given.only or shot.name in given.only:
                    with reader(chromium, shot.width, shot.scheme) as context:
                        try:
                            _take(open_page(context, f"{dashboard}/{shot.path}"), shot)
                        except Exception:
                            print((Path(folder) / "log").read_text("utf-8", "replace")[-4000:], file=sys.stderr)
                            raise
            chromium.close()


def _fill() -> str:
    """Load, score and follow; returns the address of the database, which runs until this process ends."""
    for command in (["sample"], ["score"]):
        subprocess.run([sys.executable, "-m", "miles", *command], cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    from miles import db, niches, settings

    db.ready()
    with db.transaction("viewer", settings.load().user) as connection:
        for name, wanted in NICHES.items():
            niches.save(connection, name, wanted)
    return db.conninfo()


def _take(page: Page, shot: Shot) -> None:
    page.set_viewport_size({"width": shot.width, "height": shot.height})
    if shot.act:
        shot.act(page)
    settle(page)
    if page.locator("[data-testid=stException]").count():
        raise SystemExit(f"/{shot.path} shows an error; no picture was taken of it.")
    with Image.open(io.BytesIO(page.screenshot())) as taken:
        small = taken.convert("RGB").quantize(COLOURS, dither=Image.Dither.FLOYDSTEINBERG)
        small.save(IMAGES / f"{shot.name}.png", optimize=True)
    print(f"{shot.name}.png  {(IMAGES / f'{shot.name}.png').stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
