"""The unmodified yt-dlp against recorded answers, played back by the proxy of the folder MILES_SHARED."""

import os
from collections.abc import Iterator

import pytest
from replaying import Replay

from miles import settings

SHARED = os.environ.get("MILES_SHARED", "")  # read before a test's own environment is made


@pytest.fixture(scope="session")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    """Answers everything: what was never asked when it was recorded, with recorded videos."""
    yield from _playing(tmp_path_factory, "--unknown", "corpus", "--synth-watch")


@pytest.fixture(scope="session")
def strict_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    """Answers what was recorded, as it was recorded, and nothing else."""
    yield from _playing(tmp_path_factory, "--strict")


def _playing(tmp_path_factory: pytest.TempPathFactory, *options: str) -> Iterator[Replay]:
    if not SHARED:
        pytest.skip("MILES_SHARED does not name the folder with the recorded answers")
    running = Replay(SHARED, tmp_path_factory.mktemp("replay"), *options)
    yield running
    running.kill()


@pytest.fixture
def replay(proxy: Replay, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replay]:
    """The proxy without faults, and Miles told to use it and to trust it."""
    yield from _used(proxy, monkeypatch)


@pytest.fixture
def recorded(strict_proxy: Replay, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replay]:
    """Likewise the one that plays recordings alone."""
    yield from _used(strict_proxy, monkeypatch)


def _used(proxy: Replay, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replay]:
    monkeypatch.setenv("MILES_PROXY", proxy.address)
    monkeypatch.setenv("SSL_CERT_FILE", proxy.certificate)
    for other in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # SSL_CERT_FILE wins over what else names authorities
        monkeypatch.setenv(other, "/nowhere/ca.pem")
    monkeypatch.setenv("MILES_REQUEST_DELAY", "0")
    settings.load.cache_clear()
    if proxy.process.poll() is not None:
        proxy.start()  # a test has killed it
    proxy.reset()
    yield proxy
    if proxy.process.poll() is None:
        proxy.reset()
