"""Model: what each version is, whether its promises came true, whether inputs drift, and who would follow."""

import streamlit as st

from ui import data, model, page

page.state()
versions = data.model_versions()
if not versions:
    data.model()  # the first use puts the shipped version in force
    data.model_versions.clear()
    versions = data.model_versions()

head = st.container()
with st.container(horizontal=True, vertical_alignment="center", gap="small"):
    chosen = st.selectbox(
        "Version",
        [one.version for one in versions],
        key="version",
        bind="query-params",
        label_visibility="collapsed",
        width=230,
    )
    view = st.segmented_control(
        "Show", model.VIEWS, default=model.VIEWS[0], required=True, key="show", bind="query-params",
        label_visibility="collapsed",
    )  # fmt: skip
version = next(one for one in versions if one.version == chosen)
report = data.model_report(version.version)
with head:
    page.header("Model", model.summary(version, report, page.now()))

if view == "About":
    model.card(version)
elif view == "History":
    model.history(data.model_activations(), versions)
elif view == "Shadow":
    model.shadow(data.model_comparison(), versions)
elif report is None:
    model.not_summed_up()
elif view == "Drift":
    model.drift(report.drift)
else:
    model.foresight(report)
    model.published_drafts(data.published_drafts())
    model.backtest(report)
