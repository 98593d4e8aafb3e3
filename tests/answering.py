"""The Recommendations page while concepts are written, in Streamlit's own test runner."""

import time

from streamlit.testing.v1 import AppTest

from ui import recommendations


def finished(app: AppTest) -> AppTest:
    """Run the page again, as its fragment does, until no concepts are being written."""
    end = time.monotonic() + 120
    while recommendations.WRITING in app.session_state:
        assert time.monotonic() < end, "concepts are still being written"
        time.sleep(0.05)
        app.run()
    assert not app.exception
    return app
