"""Miles's dashboard: the frame around every page. `streamlit run Home.py`, or `python -m miles up`.

Streamlit's server imports this file once and finds `app`: the pages, and beside them the HTTP API at /api and the
exports at /export.
For each visitor it then runs the file again, as a script.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
from starlette.routing import Mount, Route

FOLDER = Path(__file__).parent

if __name__ == "Home":  # the server's import, not a visitor's run
    # Before there are visitors: where two come first at once, plotly would find for the one what the other has half imported.
    import pandas  # noqa: F401

    from miles import db
    from miles.api_beside import Beside
    from miles.downloads import download
    from ui import warm

    api = Beside()

    @asynccontextmanager
    async def running(server: object) -> AsyncIterator[None]:
        try:
            async with api.running(server), warm.kept():
                yield
        finally:  # here: what was told to end by a signal ends by that signal, and runs no exit handlers
            await asyncio.to_thread(db.end)

    app = st.App(__file__, routes=[Mount("/api", api), Route("/export/{name}", download)], lifespan=running)
else:
    from ui import page

    # Before the navigation: a page's own icon as the tab's would be fetched from Google.
    st.set_page_config(
        page_title="Miles",
        page_icon=FOLDER / "ui" / "mark.svg",
        layout="wide",
        menu_items={
            "About": "Miles collects short videos, scores them with an embedded model and shows what takes off."
        },
    )
    st.logo(FOLDER / "ui" / "logo.svg", size="large", icon_image=FOLDER / "ui" / "mark.svg")

    here = st.navigation(
        {
            "": [
                st.Page(
                    "pages/home.py",
                    title="Home",
                    icon=":material/home:",
                    default=True,
                    help="What is taking off now, how fresh the data is, and what to do next.",
                ),
            ],
            "Explore": [
                st.Page(
                    "pages/trending.py",
                    title="Trending",
                    icon=":material/local_fire_department:",
                    help="Candidates as cards or as a table: filter, sort, open the details, export.",
                ),
                st.Page(
                    "pages/scores.py",
                    title="Scores",
                    icon=":material/bar_chart:",
                    help="How the scores are spread by platform, category, duration and age, and how they hold up.",
                ),
                st.Page(
                    "pages/title_patterns.py",
                    title="Title patterns",
                    icon=":material/title:",
                    help="Which words and forms of titles go with more views than the channel usually gets.",
                ),
            ],
            "Create": [
                st.Page(
                    "pages/score_lab.py",
                    title="Score lab",
                    icon=":material/science:",
                    help="Score a title and a thumbnail before publishing.",
                ),
                st.Page(
                    "pages/clips.py",
                    title="Clips",
                    icon=":material/movie:",
                    help="Upload a clip before publishing: its facts, its cuts, and its frames scored as thumbnails.",
                ),
                st.Page(
                    "pages/recommendations.py",
                    title="Recommendations",
                    icon=":material/lightbulb:",
                    help="A topic and a vibe in, concepts out, each with the videos that back it.",
                ),
            ],
            "Operate": [
                st.Page(
                    "pages/operations.py",
                    title="Operations",
                    icon=":material/settings:",
                    help="Collect now, follow jobs, retry failed ones, see versions.",
                ),
                st.Page(
                    "pages/model.py",
                    title="Model",
                    icon=":material/model_training:",
                    help="Which version is in force, whether its promises came true, whether what comes in drifts.",
                ),
            ],
        }
    )
    st.set_page_config(page_title=f"{here.title} · Miles")
    with page.frame(here.url_path):
        here.run()
