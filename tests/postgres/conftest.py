from collections.abc import Iterator

import pytest
from loopback import Site

from miles import settings


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A web site on loopback, and collecting from it without pauses."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MILES_REQUEST_DELAY", "0")
    settings.load.cache_clear()
    running = Site()
    yield running
    running.close()
