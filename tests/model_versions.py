"""Model folders for tests: the shipped network under another version, with another calibration."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from miles import registry, scoring


def made(folder: Path, version: str, *, shift: float = 0.0) -> Path:
    """A whole model folder in `folder`; `shift` moves the log-odds of its viral_score."""
    shutil.copytree(scoring.DEFAULT_FOLDER, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["version"] = version
    for line in manifest["calibration"].values():
        line[1] += shift
    write_manifest(folder, manifest)
    golden = json.loads((folder / "golden.json").read_text())
    videos = [registry.golden_input(case["input"]) for case in golden["cases"]]
    for case, score in zip(golden["cases"], scoring.load(folder).score(videos), strict=True):
        case["score"] = asdict(score)
    (folder / "golden.json").write_text(json.dumps(golden))
    return folder


def write_manifest(folder: Path, manifest: dict) -> None:
    (folder / "manifest.json").write_text(json.dumps(manifest))
