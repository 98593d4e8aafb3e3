"""Which model version is in force: versions, their history, and the one that this process should use.

A version is the folder that `python -m training` makes. The checkout ships one in `model/` (MILES_MODEL names
another place); what was ever in force is kept in MILES_HOME/models, so that going back is possible after the
checkout has moved on. Which one is in force stands in the database: `active_model` looks every CHECK_EVERY
seconds, so that dashboards, workers and the API change over without a restart.

A shipped version that this database has never seen comes into force by itself, unless somebody has chosen a
version with `activate` or `rollback`: a choice stands until the next one.

Functions that take a Connection never commit.
"""

import base64
import hashlib
import json
import logging
import math
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, text

from miles import db, model_folder, settings
from miles.errors import DatabaseUnavailable, MilesError, ModelUnavailable

if TYPE_CHECKING:  # numpy and the model's runtime take a second to import; a list of versions needs neither
    from miles.features import ScoreInput
    from miles.scoring import Model

logger = logging.getLogger(__name__)

CHECK_EVERY = 2.0  # seconds between two looks of a process at which version is in force
LOCK = 0x6D6F64656C  # advisory lock key ("model"): one change of versions at a time
SMALLEST = 1e-3  # golden numbers closer than this are equal, whatever their ratio

# The name of a figure -> where it stands in manifest["metrics"]["judge"], as [value, low, high]
FIGURES = {
    "draft Spearman": ("draft", "unseen channels", "system", "spearman"),
    "draft AUROC": ("draft", "unseen channels", "system", "auroc_top10"),
    "velocity Spearman": ("candidate", "unseen channels, 3d", "system", "spearman"),
    "growth AUROC": ("candidate", "unseen channels, 3d", "label top10_growth_3d", "system", "auroc"),
}

# What a folder may hold beside what is needed: its card, the figure in it, and all that was measured
ABOUT = ("README.md", "reliability.svg", "evaluation.json")

State = Literal["current", "shadow", "retired"]
How = Literal["first start", "upgrade", "activate", "rollback"]


@dataclass(frozen=True, slots=True)
class Version:
    """One version that this database knows."""

    version: str
    state: State
    manifest: dict[str, Any]
    added_at: datetime
    activated_at: datetime | None  # the last time it came into force; None: never
    activated_by: str | None

    @property
    def made(self) -> str | None:
        """The day of its training, as the manifest says it."""
        return self.manifest.get("made")


@dataclass(frozen=True, slots=True)
class Activation:
    """One change of the version in force."""

    version: str
    replaced: str | None
    how: How
    by_whom: str
    at: datetime
    undone: bool  # by a rollback


# --- what the database knows ------------------------------------------------------------------------


def versions(connection: Connection) -> list[Version]:
    """All versions: the one in force first, then the one in shadow, then the latest activated."""
    rows = connection.execute(
        text(
            "SELECT model_version AS version, state, manifest, added_at, activated_at, activated_by FROM model_versions"
            " ORDER BY array_position(ARRAY['current', 'shadow', 'retired'], state), activated_at DESC NULLS LAST,"
            " added_at DESC, model_version"
        )
    )
    return [Version(**row) for row in rows.mappings()]


def current(connection: Connection) -> str | None:
    """The version in force; None before the first start."""
    return connection.scalar(text("SELECT model_version FROM model_versions WHERE state = 'current'"))


def shadow(connection: Connection) -> str | None:
    """The version that scores beside the one in force, if there is one."""
    return connection.scalar(text("SELECT model_version FROM model_versions WHERE state = 'shadow'"))


def activations(connection: Connection, limit: int = 50) -> list[Activation]:
    """The changes of the version in force, latest first."""
    rows = connection.execute(
        text(
            "SELECT model_version AS version, replaced, how, by_whom, at, undone FROM model_activations"
            " ORDER BY activation_id DESC LIMIT :limit"
        ),
        {"limit": limit},
    )
    return [Activation(**row) for row in rows.mappings()]


def count_scores(connection: Connection) -> dict[str, int]:
    """Version -> how many candidates it has scored."""
    rows = connection.execute(text("SELECT model_version, count(*) AS n FROM scores GROUP BY model_version"))
    return {row.model_version: row.n for row in rows}


def activate(connection: Connection, folder: Path, by: str, how: How = "activate") -> Version:
    """Put the version of a verified folder in force; candidates are then to be scored by it.

    Chosen again, the version in force becomes a choice, which an upgrade of the checkout leaves alone.
    """
    version = add(connection, folder)
    return _put_in_force(connection, version, by, how)


def add(connection: Connection, folder: Path) -> str:
    """Make the version of a folder known, without using it. Raises MilesError where its name is taken."""
    _lock(connection)
    manifest = read_manifest(folder)
    version = manifest["version"]
    known = connection.scalar(
        text("SELECT manifest->'files' FROM model_versions WHERE model_version = :version"), {"version": version}
    )
    if known is not None and known != manifest.get("files"):
        raise MilesError(
            f"This database knows a version {version} that is made of other files. "
            "Train with another --release, so that both can be told apart."
        )
    connection.execute(
        text(
            "INSERT INTO model_versions (model_version, manifest) VALUES (:version, cast(:manifest AS jsonb))"
            " ON CONFLICT (model_version) DO UPDATE SET manifest = excluded.manifest"
        ),
        {"version": version, "manifest": json.dumps(manifest)},
    )
    return version


def to_roll_back_to(connection: Connection) -> str:
    """The version that was in force before the latest change. Raises MilesError if there is none."""
    found = _latest_change(connection)
    if found is None:
        raise MilesError("No version was in force before this one, so there is nothing to go back to.")
    return found[1]


def roll_back(connection: Connection, by: str) -> Version:
    """Put the version before the latest change in force again; called again, the one before that."""
    _lock(connection)
    found = _latest_change(connection)
    if found is None:
        raise MilesError("No version was in force before this one, so there is nothing to go back to.")
    activation_id, version = found
    connection.execute(
        text("UPDATE model_activations SET undone = true WHERE activation_id = :id"), {"id": activation_id}
    )
    return _put_in_force(connection, version, by, "rollback")


def set_shadow(connection: Connection, version: str | None) -> None:
    """Let a known version score beside the one in force; None ends that."""
    _lock(connection)
    if version is not None and version == current(connection):
        raise MilesError(f"Version {version} is in force; only another one can score in its shadow.")
    connection.execute(text("UPDATE model_versions SET state = 'retired' WHERE state = 'shadow'"))
    if version is not None:
        connection.execute(
            text("UPDATE model_versions SET state = 'shadow' WHERE model_version = :version"), {"version": version}
        )


def _latest_change(connection: Connection) -> tuple[int, str] | None:
    row = connection.execute(
        text(
            "SELECT activation_id, replaced FROM model_activations"
            " WHERE NOT undone AND how <> 'rollback' AND replaced IS NOT NULL ORDER BY activation_id DESC LIMIT 1"
        )
    ).one_or_none()
    return None if row is None else (row.activation_id, row.replaced)


def _put_in_force(connection: Connection, version: str, by: str, how: How) -> Version:
    before = current(connection)
    if before != version:
        connection.execute(text("UPDATE model_versions SET state = 'retired' WHERE state = 'current'"))
    connection.execute(
        text(
            "UPDATE model_versions SET state = 'current', activated_at = now(), activated_by = :by"
            " WHERE model_version = :version"
        ),
        {"version": version, "by": by},
    )
    connection.execute(
        text(
            "INSERT INTO model_activations (model_version, replaced, how, by_whom)"
            " VALUES (:version, :before, :how, :by)"
        ),
        {"version": version, "before": before if before != version else None, "how": how, "by": by},
    )
    return next(one for one in versions(connection) if one.version == version)


def _lock(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})


def figures(manifest: Mapping[str, Any]) -> dict[str, float]:
    """What a version reached when it was evaluated, in short; what its manifest doesn't say is left out."""
    return {name: value for name, (value, _, _) in figures_with_intervals(manifest).items()}


def figures_with_intervals(manifest: Mapping[str, Any]) -> dict[str, tuple[float, float, float]]:
    """The same, each as (value, low, high)."""
    judged = (manifest.get("metrics") or {}).get("judge") or {}
    found = {}
    for name, path in FIGURES.items():
        value: Any = judged
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        if isinstance(value, list | tuple) and len(value) == 3 and all(isinstance(x, int | float) for x in value):
            found[name] = (float(value[0]), float(value[1]), float(value[2]))
    return found


# --- folders ----------------------------------------------------------------------------------------


def kept_in(version: str) -> Path:
    """Where this machine keeps a version that was in force. Raises ModelUnavailable for a name that is no name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,99}", version):
        raise ModelUnavailable(
            f"{version[:100]!r} can't be the name of a version: letters, digits and . + _ - only. Correct the manifest."
        )
    return settings.load().home / "models" / version


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a model folder. Raises ModelUnavailable if there is none, or it names no version."""
    manifest = model_folder.manifest(folder)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("version"), str):
        raise ModelUnavailable(f"{folder / model_folder.MANIFEST} names no version; restore it from the repository.")
    kept_in(manifest["version"])  # what can't be a folder's name is no version
    return manifest


def locate(version: str) -> Path:
    """The folder of a version on this machine. Raises ModelUnavailable if its files are not here."""
    shipped = settings.load().model_folder
    for folder in (shipped, kept_in(version)):
        try:
            if read_manifest(folder)["version"] == version:
                return folder
        except ModelUnavailable:
            continue
    raise ModelUnavailable(
        f"The files of model version {version} are not on this machine. Copy {kept_in(version)} from the machine "
        "where it was activated, or put another version in force: `python -m miles model list` names them."
    )


def is_here(version: str) -> bool:
    """Whether the files of a version are on this machine."""
    try:
        locate(version)
    except ModelUnavailable:
        return False
    return True


def find(name: str) -> Path:
    """The folder that a person means by a version or a path. Raises MilesError if there is none."""
    path = Path(name).expanduser()
    if (path / model_folder.MANIFEST).is_file() or os.sep in name:
        return path.resolve()
    try:
        return locate(name)
    except ModelUnavailable as error:
        if path.is_dir():
            return path.resolve()
        raise MilesError(
            f"{name!r} is neither a version whose files are on this machine nor a model folder. "
            "`python -m miles model list` names the versions."
        ) from error


def keep(folder: Path) -> Path:
    """Copy a verified folder into MILES_HOME/models, whole or not at all; returns where it lies."""
    from miles import scoring

    target = kept_in(read_manifest(folder)["version"])
    if target.resolve() == folder.resolve():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    copy = Path(tempfile.mkdtemp(dir=target.parent, prefix=".new-"))
    try:
        for name in (model_folder.MANIFEST, *scoring.FILES, "golden.json", *ABOUT):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, copy / name)
        copy.chmod(0o755)
        if missing := _damaged(copy, read_manifest(copy)):
            raise ModelUnavailable(f"{folder} changed while it was copied: {missing[0]}")
        if target.exists():  # an earlier copy of the same version; it may be damaged
            old = Path(tempfile.mkdtemp(dir=target.parent, prefix=".old-"))
            target.rename(old / "model")
            copy.rename(target)
            shutil.rmtree(old)
        else:
            copy.rename(target)
    except OSError as error:
        raise ModelUnavailable(f"The model can't be copied to {target}: {error}. Is the disk full?") from error
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    return target


def verify(folder: Path) -> list[str]:
    """What is wrong with a model folder, a sentence each; empty: it is whole and scores as when it was made."""
    from miles import scoring

    try:
        manifest = read_manifest(folder)
    except ModelUnavailable as error:
        return [str(error)]
    problems = _damaged(folder, manifest)
    if problems:
        return problems
    try:
        model = scoring.load(folder)
    except ModelUnavailable as error:  # schema, opset, a graph that does not start
        return [str(error)]
    return _not_reproduced(folder, model)


def _damaged(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Which files are missing, or are not those that the manifest describes."""
    from miles import scoring

    listed = manifest.get("files")
    problems = []
    for name in scoring.FILES:
        says = listed.get(name) if isinstance(listed, dict) else None
        if not isinstance(says, dict) or not isinstance(says.get("sha256"), str):
            problems.append(f"manifest.json does not list {name}.")
            continue
        try:
            content = (folder / name).read_bytes()
        except OSError:
            problems.append(f"{name} is missing.")
            continue
        if hashlib.sha256(content).hexdigest() != says["sha256"]:
            problems.append(f"{name} is damaged: its checksum is not the manifest's ({len(content):,} bytes).")
    return problems


def _not_reproduced(folder: Path, model: "Model") -> list[str]:
    """Which golden scores come out otherwise here than where the model was made."""
    try:
        golden = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
        tolerance = float(golden["tolerance"])
        cases = [(golden_input(case["input"]), case["score"]) for case in golden["cases"]]
    except FileNotFoundError:
        return ["golden.json is missing, so nobody can tell whether the model scores as it should."]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ["golden.json can't be read, so nobody can tell whether the model scores as it should."]
    if not cases:
        return ["golden.json holds no scores, so nobody can tell whether the model scores as it should."]
    problems = []
    for (video, stored), score in zip(cases, model.score([video for video, _ in cases]), strict=True):
        for name, expected in stored.items():
            got = getattr(score, name, None)
            if isinstance(expected, float) and isinstance(got, float):
                same = math.isclose(got, expected, rel_tol=tolerance, abs_tol=SMALLEST)
            else:
                same = got == expected
            if not same:
                problems.append(f"The golden case {video.key!r} gives {name} {got!r} instead of {expected!r}.")
    return problems


def golden_input(plain: Mapping[str, Any]) -> "ScoreInput":
    """A golden input from its JSON: moments in ISO 8601, pictures in base64."""
    from miles.features import PastVideo, ScoreInput

    def moments(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: datetime.fromisoformat(v) if name.endswith("_at") else v for name, v in values.items()}

    given = moments(plain)
    unknown = set(given) - {field.name for field in fields(ScoreInput)}
    if unknown:
        raise ValueError(f"unknown inputs {sorted(unknown)}")
    given["history"] = tuple(PastVideo(**moments(past)) for past in plain.get("history", ()))
    if "thumbnail" in given:
        given["thumbnail"] = base64.b64decode(given["thumbnail"])
    return ScoreInput(**given)


# --- the model of this process ----------------------------------------------------------------------


@dataclass(slots=True)
class _Held:
    place: tuple[str, Path, Path]  # database, home, shipped folder
    model: "Model"
    checked: float  # time.monotonic()


_once = threading.RLock()
_held: _Held | None = None


def active_model() -> "Model":
    """The model in force, loaded and verified once per process and version. Safe between threads.

    Raises ModelUnavailable. Where the database does not answer, the one that was in force stays in use.
    """
    global _held  # noqa: PLW0603  # one model per process is the point
    place = (db.conninfo(), settings.load().home, settings.load().model_folder)
    with _once:
        held = _held if _held is not None and _held.place == place else None
        if held is not None and time.monotonic() - held.checked < CHECK_EVERY:
            return held.model
        try:
            version = _version_in_force(first=held is None)
        except DatabaseUnavailable as error:
            if held is None:
                raise
            logger.warning("Still using model %s: %s", held.model.version, error)
            held.checked = time.monotonic()
            return held.model
        if held is not None and held.model.version == version:
            held.checked = time.monotonic()
            return held.model
        _held = None  # two models at once would take twice the memory
        model = load(version)
        if held is not None:
            logger.info("Changed over from model %s to %s", held.model.version, version)
        _held = _Held(place, model, time.monotonic())
        return model


def load(version: str) -> "Model":
    """A version's model, its files checked. Raises ModelUnavailable; see `locate`."""
    from miles import scoring

    return scoring.load(locate(version))


def forget() -> None:
    """Look again at the next use (after a change by this process, and between tests)."""
    global _held  # noqa: PLW0603
    with _once:
        _held = None


def adopt(connection: Connection) -> str:
    """Put the shipped version in force if it is new to this database and nobody chose another; returns the one
    in force. Raises ModelUnavailable if there is none and the shipped one is no good."""
    _lock(connection)
    now = current(connection)
    folder = settings.load().model_folder
    try:
        shipped = read_manifest(folder)["version"]
    except ModelUnavailable:
        if now is None:
            raise
        return now  # MILES_HOME/models holds it
    known = {one.version for one in versions(connection)}
    if now is not None and shipped in known:
        return now
    if problems := verify(folder):
        if now is None:
            raise ModelUnavailable(f"The model in {folder} can't be used: {' '.join(problems)}")
        logger.error("The new model in %s is not used: %s", folder, " ".join(problems))
        return now
    keep(folder)
    chosen = [one for one in activations(connection, limit=1) if one.how in ("activate", "rollback")]
    if now is not None and chosen:
        add(connection, folder)
        logger.warning(
            "The checkout brings model %s; %s stays in force, because %s chose it. Take the new one with: "
            "python -m miles model activate %s",
            shipped, now, chosen[0].by_whom, shipped,
        )  # fmt: skip
        return now
    activate(connection, folder, "Miles", "first start" if now is None else "upgrade")
    logger.info("Model %s is in force", shipped)
    return shipped


def _version_in_force(first: bool) -> str:
    if not first:
        with db.transaction("viewer") as connection:
            version = current(connection)
            if version is not None:
                return version
    from miles import jobs

    with db.transaction("worker") as connection:
        before = current(connection)
        version = adopt(connection)
        if before is not None and version != before:
            jobs.defer_score(connection)
    return version
