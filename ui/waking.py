"""Says that a model on another computer is waking up, in the place where its answer will stand."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator


class Waking:
    """Called with the seconds waited so far, again and again, and with None when the waiting is over."""

    def __init__(self) -> None:
        self._box: DeltaGenerator | None = None

    def __call__(self, seconds: float | None) -> None:
        if seconds is None:
            if self._box is not None:
                self._box.empty()
            return
        if self._box is None:
            self._box = st.empty()
        self._box.info(
            f"**The model is waking up…** {seconds:.0f} s. It runs on another computer, which sleeps until it is asked"
            " and needs up to two minutes.",
            icon=":material/bedtime:",
        )
