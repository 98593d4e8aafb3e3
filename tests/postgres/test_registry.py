"""Versions of the model: which is in force, how that changes, and what is refused."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import model_versions
import pytest
from sqlalchemy import text
from tables import rows

from miles import db, jobs, registry, scoring, settings
from miles.errors import DatabaseUnavailable, MilesError, ModelUnavailable

SHIPPED = json.loads((scoring.DEFAULT_FOLDER / "manifest.json").read_text())["version"]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole folder of another version."""
    return model_versions.made(tmp_path_factory.mktemp("models") / "other", "0.2.0+test", shift=0.5)


@pytest.fixture(scope="module")
def third(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_versions.made(tmp_path_factory.mktemp("models") / "third", "0.3.0+test", shift=-0.5)


@pytest.fixture(autouse=True)
def _fresh(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "CHECK_EVERY", 0.0)
    registry.forget()


@pytest.fixture
def ship(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make a folder the one that the checkout ships."""

    def ship(folder: Path) -> None:
        monkeypatch.setenv("MILES_MODEL", str(folder))
        settings.load.cache_clear()
        registry.forget()

    return ship


def states() -> dict[str, str]:
    return dict(rows("SELECT model_version, state FROM model_versions"))  # type: ignore[arg-type]


def put_in_force(folder: Path, by: str = "ann") -> None:
    with db.transaction("worker") as connection:
        registry.activate(connection, registry.keep(folder), by)


def roll_back() -> str:
    with db.transaction("worker") as connection:
        return registry.roll_back(connection, "ann").version


# -- the first start, and upgrades


def test_the_first_use_puts_the_shipped_model_in_force_and_keeps_a_copy() -> None:
    assert registry.active_model().version == SHIPPED
    assert states() == {SHIPPED: "current"}
    assert rows("SELECT model_version, replaced, how, by_whom FROM model_activations") == [
        (SHIPPED, None, "first start", "Miles")
    ]
    assert registry.verify(registry.kept_in(SHIPPED)) == []
    assert rows("SELECT count(*) FROM procrastinate_jobs") == [(0,)]  # nothing was scored by another one


def test_a_new_checkout_brings_its_model_and_has_everything_scored_again(other: Path, ship: Callable) -> None:
    registry.active_model()
    ship(other)
    assert registry.active_model().version == "0.2.0+test"
    assert states() == {SHIPPED: "retired", "0.2.0+test": "current"}
    assert rows("SELECT task_name FROM procrastinate_jobs") == [("score",)]
    assert [one.how for one in listed_activations()] == ["upgrade", "first start"]


def test_a_version_that_somebody_chose_survives_an_upgrade(
    other: Path, third: Path, ship: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    registry.active_model()
    put_in_force(other)
    ship(third)
    with caplog.at_level(logging.WARNING):
        assert registry.active_model().version == "0.2.0+test"
    assert "model activate 0.3.0+test" in caplog.text
    assert states()["0.3.0+test"] == "retired"


def test_choosing_the_version_in_force_again_makes_it_a_choice(other: Path, ship: Callable) -> None:
    registry.active_model()
    put_in_force(scoring.DEFAULT_FOLDER)
    ship(other)
    assert registry.active_model().version == SHIPPED


def test_an_older_checkout_beside_a_newer_one_changes_nothing(other: Path, ship: Callable) -> None:
    registry.active_model()
    ship(other)
    registry.active_model()
    ship(scoring.DEFAULT_FOLDER)
    assert registry.active_model().version == "0.2.0+test"  # from the copy that was kept
    assert len(listed_activations()) == 2


def test_a_damaged_new_model_is_not_taken(other: Path, ship: Callable, tmp_path: Path) -> None:
    registry.active_model()
    broken = shutil.copytree(other, tmp_path / "broken")
    (broken / "text.onnx").write_bytes(b"")
    ship(broken)
    assert registry.active_model().version == SHIPPED


def test_without_any_model_the_first_use_says_what_to_do(ship: Callable, tmp_path: Path) -> None:
    ship(tmp_path)
    with pytest.raises(ModelUnavailable, match=r"no model in .*Restore"):
        registry.active_model()
    assert states() == {}


def test_scores_of_before_the_registry_count_as_scores_of_a_known_version() -> None:
    with db.transaction("worker") as connection:
        connection.execute(
            text('INSERT INTO model_versions (model_version, manifest) VALUES (:v, \'{"version": "x"}\')'),
            {"v": "0.0.9"},
        )
    registry.active_model()
    assert states() == {"0.0.9": "retired", SHIPPED: "current"}


def listed_activations() -> list[registry.Activation]:
    with db.transaction("viewer") as connection:
        return registry.activations(connection)


# -- changing over


def test_a_process_changes_over_without_a_restart(other: Path) -> None:
    assert registry.active_model().version == SHIPPED
    put_in_force(other)
    model = registry.active_model()
    assert model.version == "0.2.0+test"
    assert registry.active_model() is model  # loaded once
    assert roll_back() == SHIPPED
    assert registry.active_model().version == SHIPPED


def test_a_process_asks_at_most_every_few_seconds(other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "CHECK_EVERY", 3600.0)
    first = registry.active_model()
    put_in_force(other)
    assert registry.active_model() is first


def test_where_the_database_is_away_the_model_stays_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    first = registry.active_model()

    def away(*_: object) -> object:
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr(db, "transaction", away)
    assert registry.active_model() is first


def test_a_version_whose_files_are_elsewhere_is_named_with_the_folder_to_copy(other: Path) -> None:
    registry.active_model()
    put_in_force(other)
    shutil.rmtree(registry.kept_in("0.2.0+test"))
    with pytest.raises(ModelUnavailable, match=r"0\.2\.0\+test are not on this machine. Copy .*models"):
        registry.active_model()
    assert roll_back() == SHIPPED
    assert registry.active_model().version == SHIPPED


def test_rolling_back_goes_back_step_by_step(other: Path, third: Path) -> None:
    registry.active_model()
    put_in_force(other)
    put_in_force(third)
    assert roll_back() == "0.2.0+test"
    assert roll_back() == SHIPPED
    with pytest.raises(MilesError, match="nothing to go back to"):
        roll_back()
    put_in_force(third)
    assert roll_back() == SHIPPED
    assert states() == {SHIPPED: "current", "0.2.0+test": "retired", "0.3.0+test": "retired"}


def test_a_change_that_fails_changes_nothing(other: Path) -> None:
    registry.active_model()

    def change() -> None:
        with db.transaction("worker") as connection:
            registry.activate(connection, other, "ann")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change()
    assert states() == {SHIPPED: "current"}
    assert registry.active_model().version == SHIPPED


def test_a_viewer_and_an_operator_change_no_version() -> None:
    registry.active_model()
    for role in ("viewer", "operator"):
        with pytest.raises(Exception, match="permission denied"), db.transaction(role) as connection:  # type: ignore[arg-type]
            connection.execute(text("UPDATE model_versions SET state = 'retired'"))
        with pytest.raises(Exception, match="permission denied"), db.transaction(role) as connection:  # type: ignore[arg-type]
            connection.execute(text("DELETE FROM model_activations"))


def test_a_version_with_scores_cannot_be_deleted() -> None:
    with db.transaction("worker") as connection:
        connection.execute(text("INSERT INTO model_versions (model_version, manifest) VALUES ('m', '{}')"))
        connection.execute(
            text(
                "INSERT INTO candidates (candidate_id, platform, video_id, title, tier, source, first_seen_at, last_seen_at)"
                " VALUES ('youtube:v', 'youtube', 'v', 'A', 'full', 'test', now(), now());"
                "INSERT INTO scores (candidate_id, model_version, mode, viral_score, base_rate, predicted_velocity,"
                " velocity_low, velocity_high) VALUES ('youtube:v', 'm', 'draft', 0.5, 0.1, 1, 1, 1)"
            )
        )
    with pytest.raises(Exception, match="foreign key"), db.transaction("worker") as connection:
        connection.execute(text("DELETE FROM model_versions"))


def test_the_same_name_for_other_files_is_refused(other: Path, tmp_path: Path) -> None:
    put_in_force(other)
    impostor = shutil.copytree(other, tmp_path / "impostor")
    manifest = json.loads((impostor / "manifest.json").read_text())
    manifest["files"]["text.onnx"]["sha256"] = "0" * 64
    model_versions.write_manifest(impostor, manifest)
    with pytest.raises(MilesError, match="made of other files"), db.transaction("worker") as connection:
        registry.add(connection, impostor)


# -- the shadow


def test_one_other_version_can_stand_in_the_shadow(other: Path, third: Path) -> None:
    registry.active_model()
    for folder in (other, third):
        with db.transaction("worker") as connection:
            registry.set_shadow(connection, registry.add(connection, registry.keep(folder)))
    assert states() == {SHIPPED: "current", "0.2.0+test": "retired", "0.3.0+test": "shadow"}
    shadow = jobs.shadow_model()
    assert shadow is not None
    assert shadow.version == "0.3.0+test"
    with db.transaction("worker") as connection, pytest.raises(MilesError, match="is in force"):
        registry.set_shadow(connection, SHIPPED)
    with db.transaction("worker") as connection:
        registry.set_shadow(connection, None)
    assert jobs.shadow_model() is None


def test_a_version_comes_out_of_the_shadow_into_force(other: Path) -> None:
    registry.active_model()
    with db.transaction("worker") as connection:
        registry.set_shadow(connection, registry.add(connection, other))
    put_in_force(other)
    assert states() == {SHIPPED: "retired", "0.2.0+test": "current"}


def test_a_shadow_whose_files_are_elsewhere_holds_nothing_up(other: Path, caplog: pytest.LogCaptureFixture) -> None:
    registry.active_model()
    with db.transaction("worker") as connection:
        registry.set_shadow(connection, registry.add(connection, other))
    assert jobs.shadow_model() is None
    assert "does not score in shadow" in caplog.text


# -- folders


def test_the_shipped_model_is_whole() -> None:
    assert registry.verify(scoring.DEFAULT_FOLDER) == []


def _remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def _edit(**changes: object) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        model_versions.write_manifest(folder, manifest | changes)

    return edit


def _other_score(folder: Path) -> None:
    golden = json.loads((folder / "golden.json").read_text())
    golden["cases"][0]["score"]["viral_score"] *= 1.5
    (folder / "golden.json").write_text(json.dumps(golden))


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (_remove("manifest.json"), "manifest.json is missing"),
        (_remove("miles.onnx"), "miles.onnx is missing"),
        (_remove("golden.json"), "golden.json is missing"),
        (lambda folder: (folder / "text.onnx").write_bytes(b"x"), "text.onnx is damaged"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "can't be read"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "names no version"),
        (lambda folder: (folder / "golden.json").write_text("{}"), "golden.json can't be read"),
        (lambda folder: (folder / "golden.json").write_text('{"tolerance": 0.1, "cases": []}'), "holds no scores"),
        (_edit(schema=99), "another version of Miles"),
        (_edit(opset=99), "opset 99"),
        (_edit(version="../../etc"), "can't be the name of a version"),
        (_edit(files={}), "does not list text.onnx"),
        (_other_score, "gives viral_score"),
    ],
)
def test_whatever_is_wrong_with_a_folder_is_said_in_a_sentence(
    other: Path, tmp_path: Path, break_it: Callable[[Path], object], sentence: str
) -> None:
    folder = shutil.copytree(other, tmp_path / "broken")
    break_it(folder)
    assert sentence in " ".join(registry.verify(folder))


def test_all_damaged_files_are_named_at_once(other: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(other, tmp_path / "broken")
    for name in scoring.FILES:
        (folder / name).write_bytes(b"x")
    assert len(registry.verify(folder)) == len(scoring.FILES)


def test_a_folder_is_kept_whole_or_not_at_all(other: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(other, tmp_path / "broken")
    (folder / "image.onnx").write_bytes(b"x")
    with pytest.raises(ModelUnavailable, match="changed while it was copied"):
        registry.keep(folder)
    assert list(registry.kept_in("x").parent.iterdir()) == []
    kept = registry.keep(other)
    (kept / "image.onnx").write_bytes(b"x")
    assert registry.verify(registry.keep(other)) == []  # a damaged copy is replaced
    assert [path.name for path in kept.parent.iterdir()] == ["0.2.0+test"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\x00b", ".hidden", "x" * 200, "ä"])
def test_no_version_names_a_path(name: str) -> None:
    with pytest.raises(ModelUnavailable):
        registry.kept_in(name)


def test_a_name_means_a_version_or_a_folder(other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    registry.keep(other)
    assert registry.find("0.2.0+test") == registry.kept_in("0.2.0+test")
    assert registry.find(SHIPPED) == scoring.DEFAULT_FOLDER
    assert registry.find(str(other)) == other
    shutil.copytree(other, tmp_path / "model")
    assert registry.find("model") == tmp_path / "model"
    with pytest.raises(MilesError, match="neither a version"):
        registry.find("9.9.9")
