"""The parts of the Clips page: what comes in, how far it is, what was found."""

import itertools

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from miles import clip_advice, clip_facts, clips, db, jobs, lab
from miles.browse import Filters
from miles.clip_advice import Band, Lengths
from miles.clip_facts import Probe
from miles.clips import Clip, KeptFrame
from miles.errors import MilesError
from miles.lab import Verdict
from ui import charts, create, data, links, page, pictures, score_lab, words

LIVE = "1s"  # between two looks at a clip that is being read
TYPES = [
    "mp4",
    "m4v",
    "mov",
    "webm",
    "mkv",
    "avi",
    "wmv",
    "flv",
    "mpg",
    "mpeg",
    "ts",
    "m2ts",
    "mts",
    "ogv",
    "ogg",
    "3gp",
    "gif",
]
SHORT = 180.0  # seconds; upright or square and no longer, YouTube calls it a Short
QUIET, LOUD = -24.0, -9.0  # LUFS; sites turn down what is louder than about -14 and leave what is quieter
DARK = 0.2  # of full brightness
SAID = "clip said"  # of the session: what became of the last upload


def upload(user: str) -> None:
    """Choose a file; it is stored and queued at once, and the memory that the browser's upload took is given back."""
    turn = st.session_state.setdefault("clip turn", 0)
    with st.grid(2, min_column_width=300, gap="small"):
        title = st.text_input(
            "Title", key="clip-title", bind="query-params", placeholder="Optional",
            help="Judged with each frame. Without one the frames are judged alone.", width="stretch",
        )  # fmt: skip
        file = st.file_uploader(
            f"Video, up to {clip_facts.MOST_BYTES // 1_000_000} MB",
            type=TYPES,
            max_upload_size=clip_facts.MOST_BYTES // 1_000_000,
            key=f"clip-file-{turn}",
            help=f"{clip_facts.READ}. What it is, is told from its content. The same file again is not sent twice.",
            width="stretch",
        )
    if file is not None:
        st.session_state[SAID] = None
        try:
            told = st.progress(0.0, text="Storing the clip")
            taken = clips.take(
                file, file.name, title, user, jobs.defer_clip,
                lambda share: told.progress(min(share, 1.0), text="Storing the clip"),
            )  # fmt: skip
        except MilesError as error:
            st.session_state[SAID] = f"{file.name}: {error}"
        else:
            st.query_params["clip"] = str(taken.clip_id)
            if not taken.new:
                st.toast("This file was uploaded before.", icon=":material/history:")
        _give_back(file.file_id)
        st.session_state["clip turn"] = turn + 1
        st.rerun()
    if said := st.session_state.get(SAID):
        st.error(words.plain(said), title="This clip was not taken", icon=":material/error:")


def _give_back(file_id: str) -> None:
    """Streamlit keeps an upload in memory until its session ends; half a gigabyte is stored by now, and not needed."""
    context = get_script_run_ctx()
    remove = getattr(context and context.uploaded_file_mgr, "remove_file", None)
    if context and remove:
        remove(session_id=context.session_id, file_id=file_id)


def choose(mine: list[Clip]) -> Clip | None:
    """The clip that is shown: the one of the address, else the newest; None where there is none."""
    if not mine:
        return None
    asked = st.query_params.get("clip")
    places = {str(one.clip_id): place for place, one in enumerate(mine)}
    if len(mine) == 1:
        return mine[0]
    now = page.now()
    marks = {"waiting": "waiting", "running": "being read", "failed": "failed"}

    def name(one: Clip) -> str:
        parts = [words.shorten(one.title or one.name, 60), marks.get(one.state), words.ago(one.asked_at, now)]
        return " · ".join(filter(None, parts))

    chosen = st.selectbox("Your clips", mine, index=places.get(asked or "", 0), format_func=name, key=f"clip-{asked}")
    if asked != str(chosen.clip_id) and (asked is not None or chosen is not mine[0]):
        st.query_params["clip"] = str(chosen.clip_id)
        st.rerun()
    return chosen


def nothing_yet() -> None:
    """What to do first."""
    page.blank(
        ":material/movie:",
        "Choose a video to see what is in it.",
        "It is read in the background; you can leave this page meanwhile.",
    )


@st.fragment(run_every=LIVE)
def following(clip_id: int, user: str) -> None:
    """A clip that waits or is read, looked at again every second."""
    with page.guard():
        with db.transaction("viewer", user) as connection:
            one = clips.clip(connection, clip_id)
            alive = jobs.workers_alive(connection)
        if one is None or one.over:
            st.rerun()
        elif one.state == "running":
            st.progress(one.progress, text=f"Reading the clip: {words.percent(one.progress)}")
        else:
            waits = (
                "It waits for a free worker." if alive else "No worker is running: `python -m miles worker` starts one."
            )
            st.progress(0.0, text=waits)
            if one.reason:
                st.caption(f":orange[:material/warning:] {words.plain(one.reason)}")


def failed(one: Clip, user: str) -> None:
    """Why a clip could not be used, and what to do."""
    st.error(
        words.plain(one.reason or "The clip could not be read."),
        title="This clip can't be used",
        icon=":material/error:",
    )
    if st.button("Try again", key="clip-again", icon=":material/replay:"):
        with db.transaction("operator", user) as connection:
            jobs.retry_clip(connection, one.clip_id)
        st.rerun()


def about(one: Clip, user: str) -> None:
    """The file itself, and a button that forgets it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(
            f"{words.plain(one.name)} · {one.bytes / 1e6:.1f} MB · uploaded {words.ago(one.asked_at, page.now())}",
            width="stretch",
        )
        if st.button("Delete clip", key="clip-delete", icon=":material/delete:", type="tertiary"):
            with db.transaction("operator", user) as connection:
                clips.delete(connection, one.clip_id)
            st.query_params.pop("clip", None)
            st.toast("Clip deleted; its files go with the next daily clean-up.", icon=":material/delete:")
            st.rerun()


# --- what was found ---------------------------------------------------------------------------------


def facts(probe: Probe) -> None:
    """The clip's own numbers."""
    with st.grid(4, min_column_width=150, gap="small"):
        create.number(
            "Length", words.duration(probe.duration), f"{probe.frames:,} frames, {_rate(probe)}",
            help="From the first frame to the end of picture and sound.",
        )  # fmt: skip
        create.number(
            "Picture", f"{probe.width} × {probe.height}", f"{probe.shape}, {probe.codec} in {probe.container}",
            help="As a player shows it: turned as the file says, with square pixels.",
        )  # fmt: skip
        pace = probe.cuts_per_minute
        create.number(
            "Cuts a minute", words.count(pace), f"{words.plural(len(probe.cuts), 'hard cut')}",
            help="Moments at which much of the picture changes at once. Fades and dissolves are not counted.",
        )  # fmt: skip
        create.number(
            "Loudness",
            f"{probe.loudness:.0f} LUFS".replace("-", "−") if probe.loudness is not None else words.UNKNOWN,
            "no sound track" if not probe.has_sound else "of the whole" if probe.loudness is not None else "silent",
            help="EBU R 128, of the whole clip. Sites turn down what is louder than about −14 LUFS.",
        )
        create.number(
            "First 3 seconds: light", words.percent(probe.brightness), "of full brightness",
            help="Mean brightness of the picture.",
        )  # fmt: skip
        create.number(
            "First 3 seconds: motion",
            words.percent(probe.motion) if probe.motion is not None else words.UNKNOWN,
            "of full range a second",
            help="How much the brightness of a spot changes from look to look, added up over a second; cuts left out.",
        )
        create.number(
            "Silence", words.percent(probe.silence), "of the time" if probe.has_sound else "no sound track",
            help="Windows of 100 ms below −50 dB of full scale.",
        )  # fmt: skip
        create.number(
            "Voice band", words.percent(probe.voice), "of the time" if probe.has_sound else "no sound track",
            help="Told from energy alone: windows that are not silent and have three quarters of their energy between"
            " 150 and 4,000 Hz, where voices lie. Music that lies there counts too.",
        )  # fmt: skip
    for line in [*_notices(probe), *probe.notes]:
        st.caption(f":orange[:material/info:] {words.plain(line)}")


def _rate(probe: Probe) -> str:
    return f"{probe.fps:.0f} a second" if probe.fps else "a still"


def _notices(probe: Probe) -> list[str]:
    """Facts that a site will act upon, or that a viewer meets first; no claim about what wins."""
    said = []
    if probe.shape == "wide":
        said.append("The picture is wide: as a Short or a Reel it gets bars above and below.")
    if probe.brightness < DARK:
        said.append(f"The first 3 seconds are dark: {words.percent(probe.brightness)} of full brightness.")
    if not probe.has_sound:
        said.append("There is no sound track.")
    elif probe.loudness is None:
        said.append("The sound track is silent.")
    elif probe.loudness > LOUD:
        said.append(f"It is louder than sites play ({probe.loudness:.0f} LUFS); they turn it down.")
    elif probe.loudness < QUIET:
        said.append(f"It is quiet ({probe.loudness:.0f} LUFS): beside other videos it sounds faint.")
    return said


def ranked(one: Clip, kept: list[KeptFrame]) -> None:
    """The frames as thumbnails, best first; what the model can't tell apart shares a place."""
    st.header("Frames as thumbnails", anchor=False, help=words.MEANING["score"])
    if not kept:
        st.caption(
            ":orange[:material/image_not_supported:] No frame can be a thumbnail: all are black, white or blank."
        )
        return
    title = st.text_input(
        "Title that the frames are judged with", value=one.title, key=f"judged-{one.clip_id}",
        placeholder="None: the frames are judged alone", live="250ms",
    )  # fmt: skip
    shown = _pictures(kept)
    verdicts, why_not = _judged(one, shown, " ".join(title.split()))
    if why_not:
        st.warning(words.plain(why_not), title="The frames have no score", icon=":material/error:")
    order = verdicts or []
    if order:
        tied = sum(verdict.place == 1 for verdict in order)
        if tied == len(order) > 1:
            st.caption(
                f":material/equal: All {len(order)} frames are a tie: they differ by less than the model can tell apart."
                " Choose by eye."
            )
        elif tied > 1:
            st.caption(f":material/equal: The best {tied} are a tie: the model can't tell them apart. Choose by eye.")
        st.caption(
            f"= is a shared place: less apart than the model can tell. {words.in_100(order[0].base_rate)} is ordinary. Faces and objects are not looked for: no local"
            " detector is shipped with Miles."
        )
    listed: list[tuple[KeptFrame, bytes, Verdict | None]] = (
        [(*shown[verdict.picture or 0], verdict) for verdict in order] if order else [(*pair, None) for pair in shown]
    )
    with st.grid(4 if one.probe and one.probe.shape == "wide" else 6, min_column_width=130, gap="small"):
        for frame, jpeg, verdict in listed:
            tied = sum(other.place == verdict.place for other in order) > 1 if verdict else False
            if _frame(frame, jpeg, verdict, tied):
                _to_the_lab(one, [frame], title)
    _take_away(one, listed, title)


def _frame(frame: KeptFrame, jpeg: bytes, verdict: Verdict | None, tied: bool) -> bool:
    """Show a frame; whether it is to be taken into the Score lab."""
    with st.container(border=True, gap="xxsmall", key=f"frame-{frame.at * 1000:.0f}"):
        st.image(jpeg, alt=f"The frame at {_moment(frame.at)}", width="stretch")
        place = f"{verdict.place}{'=' if tied else '.'} {words.in_100(verdict.viral_score)}" if verdict else ""
        st.markdown(f"**{place}**" if place else f"At {_moment(frame.at)}")
        known = f"sharp {words.times(frame.sharpness)} · light {words.percent(frame.brightness)}"
        st.caption(f"At {_moment(frame.at)} · {known}" if place else known)
        return st.button(
            "Score lab", icon=":material/science:", type="tertiary", key=f"take-{frame.at * 1000:.0f}",
            help="Take this frame into the Score lab as the thumbnail.",
        )  # fmt: skip


def _to_the_lab(one: Clip, frames: list[KeptFrame], title: str) -> None:
    """Leave for the Score lab with these frames, the title and the length, so that the score there is the same."""
    score_lab.offer_frames([frame.sha256 for frame in frames])
    known = {"draft": title.strip(), "my_length": f"{one.probe.duration:.0f}" if one.probe else ""}
    links.go("pages/score_lab.py", {name: value for name, value in known.items() if value not in ("", "0")})


def _take_away(one: Clip, listed: list[tuple[KeptFrame, bytes, Verdict | None]], title: str) -> None:
    best, jpeg, _ = listed[0]
    with st.container(horizontal=True, gap="small"):
        if st.button(
            "Judge these in the Score lab", icon=":material/science:",
            help=f"The first {lab.MOST_PICTURES}, beside as many titles as you like.",
        ):  # fmt: skip
            _to_the_lab(one, [frame for frame, _, _ in listed[: lab.MOST_PICTURES]], title)
        st.download_button(
            "Best frame" if listed[0][2] else "First frame", jpeg, f"frame-{best.at:.2f}s.jpg", "image/jpeg", icon=":material/download:",
            on_click="ignore", help="In the size of a thumbnail: at most 1280 pixels wide or high.",
        )  # fmt: skip
    with st.expander("Contact sheet", icon=":material/grid_view:"):
        sheet = _sheet(tuple((frame.at, picture) for frame, picture, _ in sorted(listed, key=lambda row: row[0].at)))
        st.image(sheet, alt="All frames in order of time", width="stretch")
        st.download_button(
            "Download the sheet",
            sheet,
            "contact-sheet.jpg",
            "image/jpeg",
            icon=":material/download:",
            on_click="ignore",
        )


def _pictures(kept: list[KeptFrame]) -> list[tuple[KeptFrame, bytes]]:
    shown = []
    for frame in kept:
        try:
            shown.append((frame, pictures.read(frame.sha256)))
        except pictures.NotHere:
            st.caption(
                f":orange[:material/broken_image:] The frame at {_moment(frame.at)} is not at hand. Reload the page."
            )
    return shown


def _judged(one: Clip, shown: list[tuple[KeptFrame, bytes]], title: str) -> tuple[list[Verdict], str | None]:
    """The frames as the model in force scores them now, best first; or why it can't."""
    if not shown or one.probe is None:
        return [], None
    try:
        model = data.model()
        return lab.judge(model, clips.inputs([jpeg for _, jpeg in shown], title, one.probe.duration)), None
    except MilesError as error:
        return [], str(error)


# Only whose clip it is may find it in a cache.
@st.cache_data(max_entries=10, show_spinner=False, scope="session")
def _sheet(frames: tuple[tuple[float, bytes], ...]) -> bytes:
    return clips.contact_sheet(frames)


def timeline(probe: Probe, kept: list[KeptFrame]) -> None:
    """Cuts, loudness and motion over the clip's time."""
    st.header("Timeline", anchor=False)
    chart = charts.Chart(220)
    end = max(probe.looked_at, 1.0)
    motion = [0.0 if one is None else one for one in probe.changes]
    most = max([*motion, 0.02])
    chart.add(
        "bar",
        x=[i + 0.5 for i in range(len(motion))], y=[one / most for one in motion], width=0.9, marker={"color": charts.SOFT},
        customdata=[one * 100 for one in motion], hovertemplate="second %{x:.0f}: picture changes %{customdata:.1f} in 100<extra></extra>",
    )  # fmt: skip
    if probe.levels:
        known = [(i + 0.5, level) for i, level in enumerate(probe.levels) if level is not None and i < end]
        chart.add(
            "scatter",
            x=[at for at, _ in known], y=[max(level + 60, 0) / 60 for _, level in known], mode="lines",
            line={"color": charts.contrast(), "width": 2}, customdata=[level for _, level in known],
            hovertemplate="second %{x:.0f}: sound %{customdata:.0f} dB<extra></extra>",
        )  # fmt: skip
    for at in probe.cuts:
        chart.upright(at, color=charts.accent(), width=1.5)
    chart.add(
        "scatter",
        x=[frame.at for frame in kept], y=[1.08] * len(kept), mode="markers",
        marker={"symbol": "triangle-down", "size": 9, "color": charts.accent()},
        hovertemplate="frame at %{x:.1f} s<extra></extra>",
    )  # fmt: skip
    chart.x.update(range=[0, end], ticksuffix=" s")
    chart.y.update(visible=False, range=[0, 1.16])
    charts.show(
        chart,
        title=_pace(probe),
        caption="Lines: hard cuts. Bars: how much the picture changes in each second. "
        + ("Orange: the loudest moment of each second. " if probe.levels else "")
        + "Triangles: the frames above.",
        alt=f"Timeline: {_pace(probe)}",
        key="timeline",
    )


def _pace(probe: Probe) -> str:
    ends = [0.0, *probe.cuts, probe.looked_at]
    longest = max(after - before for before, after in itertools.pairwise(ends))
    if not probe.cuts:
        return f"No cut in {words.duration(probe.looked_at)}: one shot"
    return (
        f"{words.plural(len(probe.cuts), 'cut')} in {words.duration(probe.looked_at)}; the first after {probe.cuts[0]:.1f} s,"
        f" the longest shot lasts {longest:.1f} s"
    )


def advice(probe: Probe) -> None:
    """The clip's length against that of the niche's winners, as they were measured."""
    st.header(
        "Against the niche",
        anchor=False,
        help=f"A winner has at least {words.times(clip_advice.WINNER)} its channel's usual. Of collected videos the length is"
        " known; their cuts, sound and light are not, so nothing is said about those.",
    )
    category = st.selectbox(
        "Category",
        create.CATEGORIES,
        index=None,
        key="clip-category",
        bind="query-params",
        placeholder="Any",
        width=240,
    )
    short = probe.shape != "wide" and probe.duration <= SHORT
    filters = Filters(formats=("short",) if short else ("video",), categories=(category,) if category else ())
    niche = f"{'Shorts' if short else 'longer videos'}{f' in {category}' if category else ''}"
    found = _lengths(data.facts().version, filters)
    if found is None:
        st.caption(
            f":gray[:material/hourglass_empty:] Not enough measured {words.plain(niche)} yet: it takes"
            f" {clip_advice.LEAST_WINNERS} winners of {clip_advice.LEAST_CHANNELS} channels. Collect more on Operations."
        )
        return
    own = found.band_of(probe.duration)
    st.markdown(words.plain(_length_says(found, own, probe.duration)))
    if found.bands:
        _band_chart(found, own, niche)


@st.cache_data(ttl=data.SLOW, max_entries=60, show_spinner=False)
def _lengths(version: str, filters: Filters) -> Lengths | None:
    known = data.facts()
    chosen = data.members(known, filters)
    return clip_advice.lengths(known.duration[chosen], known.multiple[chosen], known.channel[chosen])


def _length_says(found: Lengths, own: Band | None, seconds: float) -> str:
    low, _, high = found.quartiles
    said = f"Half of the winners last {words.duration(low)} to {words.duration(high)}; this clip lasts {words.duration(seconds)}."
    if own is None:
        return f"{said} Too few measured videos are about as long as it to say more."
    if own.ratio_low > 1:
        return f"{said} Videos of {_span(own)} win more often than others ({words.change_interval(own.ratio_low, own.ratio_high)})."
    if own.ratio_high < 1:
        best = found.best()
        better = f" Those of {_span(best)} win more often." if best else ""
        return f"{said} Videos of {_span(own)} win less often than others ({words.change_interval(own.ratio_low, own.ratio_high)}).{better}"
    return f"{said} For its length the numbers show no difference beyond chance: leave it."


def _band_chart(found: Lengths, own: Band | None, niche: str) -> None:
    charts.show(
        charts.intervals(
            [f"{_span(one)}{'  ◂ this clip' if one is own else ''}" for one in found.bands],
            [one.share * 100 for one in found.bands],
            [one.share_low * 100 for one in found.bands],
            [one.share_high * 100 for one in found.bands],
            no_effect=found.winners / found.videos * 100,
            clear=[one.clear for one in found.bands],
            labels=[words.percent(one.share) for one in found.bands],
            hover=[f"{_span(one)}: {one.winners:,} of {one.videos:,} win" for one in found.bands],
            axis="winners in 100",
        ),
        title=_finding(found),
        caption=f"{found.videos:,} {words.plain(niche)} of {found.channels:,} channels, {found.winners:,} winners. Bars: 95% interval over"
        " channels; the line: all lengths together; grey: no difference beyond chance. An association, not a cause.",
        key="lengths",
    )


def _finding(found: Lengths) -> str:
    best = found.best()
    return f"Videos of {_span(best)} win most often" if best else "No length wins clearly more often than the others"


def _span(band: Band) -> str:
    if band.high is None:
        return f"{words.duration(band.low)} and more"
    low = words.duration(band.low)
    return f"{low.removesuffix(' s') if band.high < 60 else low}–{words.duration(band.high)}"


def _moment(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else words.duration(seconds)
