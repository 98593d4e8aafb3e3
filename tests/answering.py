"""The Recommendations page while concepts are written, in Streamlit's own test runner."""

import time

from streamlit.testing.v1 import AppTest

from ui import recommendations


def finished(app: AppTest) -> AppTest:
    """Run the page again, as its fragment does, until no concepts are being written."""
    for _ in range(200):
        if recommendations.WRITING not in app.session_state:
            break
        time.sleep(0.05)
        app.run()
    assert not app.exception
    return app
