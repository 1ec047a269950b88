import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from physicnet.doctor import versions
from physicnet.doctor.findings import Level
from physicnet.doctor.versions import check, differing, installed_versions, known_bad, pins, unmet_requirements

ROOT = Path(__file__).parents[2]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Install a package that holds nothing, in front of all others."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def add(name: str, version: str) -> None:
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    return add


def test_this_environment_has_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert [finding for finding in check() if finding.level is Level.ERROR] == []


@pytest.mark.parametrize(
    ("name", "version", "symptom"),
    [
        ("fastapi", "0.160.0", "server cannot start"),
        ("fastapi", "0.152.0", "status 422"),
        ("SQLAlchemy", "2.1.9", "no run is ever scheduled"),
        ("mlflow", "3.10.0", "read files, or run code"),
    ],
)
def test_a_combination_that_is_known_to_fail_is_named_with_its_symptom(
    install: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, name: str, version: str, symptom: str
) -> None:
    install(name, version)
    monkeypatch.chdir(ROOT)
    found = list(check())
    (bad,) = [finding for finding in found if symptom in finding.seen]
    assert bad.level is Level.ERROR
    assert f"{name.lower()} {version}" in bad.seen
    assert bad.remedy.startswith("pip install")
    assert Level.OK not in {finding.level for finding in found}


def test_every_entry_of_the_table_can_be_met_and_missed() -> None:
    well = {"prefect": "3.8.8", "fastapi": "0.150.0", "sqlalchemy": "2.0.58", "mlflow": "3.17.2"}
    assert list(known_bad(well)) == []
    assert list(known_bad({})) == []
    ill = [{"fastapi": "0.155.0"}, {"fastapi": "0.151.0"}, {"sqlalchemy": "2.1.0"}, {"mlflow": "3.16.1"}]
    assert [len(list(known_bad(well | each))) for each in ill] == [1, 1, 1, 1]
    assert len(versions.KNOWN_BAD) == len(ill)


def test_what_physicnet_asks_for_and_does_not_get_is_an_error() -> None:
    installed = installed_versions()
    assert list(unmet_requirements(installed)) == []
    (old,) = unmet_requirements(installed | {"einops": "0.1"})
    assert (old.level, old.seen) == (Level.ERROR, "einops 0.1, physicnet needs >=0.8")
    del installed["einops"]
    (absent,) = unmet_requirements(installed)
    assert absent.seen.startswith("einops is not installed")


def test_extras_are_not_asked_for() -> None:
    installed = {name: version for name, version in installed_versions().items() if name != "pytest"}
    assert list(unmet_requirements(installed)) == []


def test_without_physicnet_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise versions.PackageNotFoundError(name)

    monkeypatch.setattr(versions, "requires", requires)
    (finding,) = unmet_requirements({})
    assert finding.seen == "physicnet is not installed in this environment"


def test_pins_are_read_without_comments_and_by_one_spelling() -> None:
    assert pins("# all\nTyping_Extensions==4.15  # oldest\n\ntorch==2.13.0\n") == {
        "typing-extensions": "4.15",
        "torch": "2.13.0",
    }


def test_other_versions_than_the_pinned_ones_are_a_warning() -> None:
    pinned = {"torch": "2.13.0", "dask": "1.0", "absent": "1.0"}
    (well,) = differing({"torch": "2.13.0", "dask": "1.0"}, pinned, is_known=False)
    assert (well.level, "2 are installed as pinned" in well.seen) == (Level.OK, True)
    (other,) = differing({"torch": "2.13.1", "dask": "1.0"}, pinned, is_known=False)
    assert other.level is Level.WARNING
    assert "1 of 2" in other.seen
    assert "torch 2.13.1 (pinned: 2.13.0)" in other.seen


def test_builds_do_not_count_as_versions(install: Callable[[str, str], None]) -> None:
    install("torch", "2.13.0+cpu")
    assert installed_versions()["torch"] == "2.13.0"


def test_without_pins_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no constraints.txt" in list(check())[-1].seen
