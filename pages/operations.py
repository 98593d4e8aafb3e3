"""Operations: collect now or again and again, follow it, how the sources stand, jobs, versions, where the data lies."""

import streamlit as st

from miles import collecting, db, jobs, operations, settings, watchlist
from ui import asking, operate, page, removal, sources, under_way, watched, words

page.state()  # whoever opens this page first has the frame around it, and the database ready
user = settings.load().user
with db.transaction("viewer") as connection:
    alive = operations.workers(connection)
    following = watchlist.next_run(connection)
moment = page.now()
schedule = (
    "nothing is watched"
    if following is None
    else "the watchlist is due"
    if following <= moment
    else f"the watchlist is collected next {words.at(following, moment)}"
)
page.header(
    "Operations",
    f"{words.plural(alive, 'worker')} running · {schedule} · what fails stays here with its reason",
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
        kind = st.selectbox("As", operate.ASKED, key="kind", format_func=operate.KINDS.__getitem__, width=190)
        every = asking.cadence("ask")
    with st.expander("How many, what to keep, for whom", icon=":material/tune:"):
        how = asking.how("ask")
    with st.container(horizontal=True, gap="small"):
        now = st.form_submit_button("Collect now", type=page.strong(), icon=":material/download:")
        again = st.form_submit_button(
            "Add to the watchlist",
            icon=":material/event_repeat:",
            help="Collected at once, and then as often as chosen.",
        )
if now or again:
    named = target.replace("\x00", "")
    chosen = collecting.kind_of(named) if kind == "detect" else str(kind)
    with page.guard(), db.transaction("operator") as connection:
        if now:
            jobs.defer_collection(
                connection, named, chosen, how.item_limit, user, read_limit=how.read_limit, keep=how.keep,
                language=how.language, region=how.region,
            )  # fmt: skip
            done = "Collection queued"
        else:
            _, new = watchlist.add(
                connection, named, chosen, watchlist.cadence(every or ""), how.item_limit, how.read_limit, how.keep,
                how.language, how.region, user,
            )  # fmt: skip
            done = "Added to the watchlist" if new else "Changed on the watchlist"
    st.toast(done, icon=":material/check:")

view = st.segmented_control(
    "Show",
    ["Collections", "Watchlist", "Sources", "Jobs", "Installation"],
    default="Collections",
    required=True,
    key="show",
    bind="query-params",
    label_visibility="collapsed",
)
if view == "Watchlist":
    watched.entries(user, worker=alive > 0)
elif view == "Sources":
    sources.live()
elif view == "Jobs":
    operate.actions()
    operate.live_jobs()
elif view == "Installation":
    operate.installation()
    removal.kept_out()
else:
    under_way.live()
    under_way.history()
