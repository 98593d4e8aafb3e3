"""Operations: collect now, follow the jobs, retry or cancel them, what is watched, versions, where the data lies."""

import streamlit as st

from miles import collecting, db, jobs, operations, settings
from ui import operate, page, words

user = settings.load().user
with db.transaction("viewer") as connection:
    alive = operations.workers(connection)
page.header(
    "Operations",
    f"{words.plural(alive, 'worker')} running · the watchlist is collected next at"
    f" {operations.next_refresh(page.now()):%H:%M} UTC · a job that fails stays here with its reason",
)
if not alive:
    st.warning(
        "Jobs wait until one runs. Start it with `python -m miles worker`, or start all of Miles with `python -m miles up`.",
        title="No worker is running",
        icon=":material/power_off:",
    )

with st.form("collect", clear_on_submit=False):
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        target = st.text_input(
            "Collect", key="target", placeholder="street food, @channel, #hashtag or an address", width=420
        )
        kind = st.selectbox("As", operate.ASKED, key="kind", format_func=operate.KINDS.__getitem__, width=150)
        limit = st.number_input(
            "At most", 1, collecting.LARGEST_LIMIT, 20, key="limit", width=130, help="Videos. Each takes about 5 s."
        )
    with st.container(horizontal=True, gap="small"):
        now = st.form_submit_button("Collect now", type="primary", icon=":material/download:")
        later = st.form_submit_button(
            f"Every {operations.REFRESH_HOURS} hours",
            icon=":material/event_repeat:",
            help="Puts it on the watchlist.",
        )
if now or later:
    chosen = collecting.kind_of(target) if kind == "detect" else str(kind)
    with page.guard(), db.transaction("operator") as connection:
        if now:
            jobs.defer_collection(connection, target.replace("\x00", ""), chosen, int(limit), asked_by=user)
        else:
            operations.watch(connection, target, chosen, int(limit), user)
    st.toast("Collection queued" if now else "Added to the watchlist", icon=":material/check:")

with st.container(horizontal=True, gap="small"):
    operate.action("Score what is new", ":material/bolt:", jobs.defer_score, "Scoring queued")
    operate.action("Refresh the summaries", ":material/functions:", jobs.defer_roll_up, "Roll-up queued")
    if operate.has_sample():
        operate.action("Remove sample data", ":material/delete:", jobs.defer_remove_sample, "Removal queued")
    else:
        operate.action("Load sample data", ":material/science:", jobs.defer_load_sample, "Sample data queued")

view = st.segmented_control(
    "Show",
    ["Jobs", "Collections", "Watchlist", "Installation"],
    default="Jobs",
    required=True,
    key="show",
    bind="query-params",
    label_visibility="collapsed",
)
if view == "Collections":
    operate.collections()
elif view == "Watchlist":
    operate.watchlist()
elif view == "Installation":
    operate.installation()
else:
    operate.live_jobs()
