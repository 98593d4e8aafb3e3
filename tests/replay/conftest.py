"""The unmodified yt-dlp against recorded answers, played back by the proxy of the folder MILES_SHARED."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from replaying import Replay

from miles import settings

SHARED = os.environ.get("MILES_SHARED", "")  # read before a test's own environment is made


@pytest.fixture(scope="session")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    if not SHARED:
        pytest.skip("MILES_SHARED does not name the folder with the recorded answers")
    folder = Path(SHARED) / "replay"
    process = subprocess.Popen(
        [
            sys.executable, str(folder / "replay_proxy.py"), "--recordings", str(folder / "recordings"), "--port", "0",
            "--unknown", "corpus", "--synth-watch", "--state", str(tmp_path_factory.mktemp("replay")),
        ],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout
    ready = re.match(r"READY (\S+) ca=(\S+)", process.stdout.readline())
    assert ready, "the proxy did not start"
    yield Replay(ready[1], ready[2])
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.fixture
def replay(proxy: Replay, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replay]:
    """The proxy without faults, and Miles told to use it and to trust it."""
    monkeypatch.setenv("MILES_PROXY", proxy.address)
    monkeypatch.setenv("SSL_CERT_FILE", proxy.certificate)
    for other in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # SSL_CERT_FILE wins over what else names authorities
        monkeypatch.setenv(other, "/nowhere/ca.pem")
    monkeypatch.setenv("MILES_REQUEST_DELAY", "0")
    settings.load.cache_clear()
    proxy.reset()
    yield proxy
    proxy.reset()
