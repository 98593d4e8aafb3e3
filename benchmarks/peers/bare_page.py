"""A Streamlit page that only shows what was typed: no page can be there sooner."""

import streamlit as st

st.text(st.text_input("Anything", key="q"))
