"""The page that an analyst would write in an afternoon: pandas over one Parquet file, in Streamlit.

    streamlit run benchmarks/peers/pandas_page.py -- videos.parquet

As Streamlit's documentation advises: the file is read and reduced once, behind st.cache_data; each rerun filters the
frame. It answers the same three questions as Miles' pages, with simpler statistics.
"""

import sys

import numpy as np
import pandas as pd
import streamlit as st
from frame import videos_of  # beside this script

FEW = 20  # videos with a word
ALL = "All"


@st.cache_data(show_spinner=False)
def load(path: str) -> pd.DataFrame:
    return videos_of(path)


st.set_page_config(page_title="Trending videos", layout="wide")
videos = load(sys.argv[1])
st.title("Trending videos")
question = st.segmented_control(
    "Show", ["Fastest", "Distribution", "Words"], default="Fastest", key="show", required=True
)
category = st.selectbox("Category", [ALL, *sorted(videos["category_name"].dropna().unique())], key="category")
days = st.number_input("Days", 1, 365, 30, key="days")
words = st.text_input("Words of the title", key="q")

chosen = videos[videos["published_at"] >= videos["fetched_at"].max() - pd.Timedelta(days=days)]
if category != ALL:
    chosen = chosen[chosen["category_name"] == category]
if words.startswith('"'):
    chosen = chosen[chosen["title"].str.contains(words.strip('"'), case=False, regex=False, na=False)]
elif words:
    chosen = chosen[chosen["title"].str.contains(rf"\b{words.rstrip('*')}", case=False, na=False)]
st.caption(f"{len(chosen):,} videos")

if question == "Fastest":
    st.dataframe(
        chosen.nlargest(24, "velocity")[["title", "channel_title", "category_name", "views", "velocity", "multiple"]]
    )
elif question == "Distribution":
    shown = chosen[chosen["velocity"] > 0]
    bins = np.floor(np.log10(shown["velocity"].clip(lower=1)) * 5) / 5
    st.bar_chart(bins.value_counts().sort_index())
    for by in ("category_name", "band"):
        st.dataframe(shown.groupby(by, observed=True)["velocity"].describe(percentiles=[0.25, 0.5, 0.75]))
else:
    found = chosen[["title", "multiple"]].assign(word=chosen["title"].str.lower().str.findall(r"\w{3,}"))
    found = found.explode("word").reset_index().drop_duplicates(["index", "word"])
    found["log"] = np.log(found["multiple"].clip(lower=1e-3))
    told = found.groupby("word")["log"].agg(["size", "mean"]).query(f"size >= {FEW}")
    told["lift"] = np.exp(told["mean"] - np.log(chosen["multiple"].clip(lower=1e-3)).mean())
    st.dataframe(told.sort_values("lift", ascending=False).head(50))
