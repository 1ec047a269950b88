from pathlib import Path

import pytest
import yaml
from workspaces import HISTORY, write_workspace

from physicnet.recorded import ReplayError, check_files, recorded_stages


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, as all stages left it."""
    monkeypatch.chdir(tmp_path)
    write_workspace(tmp_path)
    return tmp_path


def test_no_lock_is_refused(folder: Path) -> None:
    (folder / "dvc.lock").unlink()
    with pytest.raises(ReplayError, match=r"dvc\.lock is missing or has none of the stages .*dvc repro"):
        recorded_stages(folder)


def test_a_missing_output_is_refused(folder: Path) -> None:
    (folder / "data/crops.png").unlink()
    with pytest.raises(ReplayError, match=r"data/crops\.png is missing.*dvc checkout .*dvc repro"):
        check_files(folder, recorded_stages(folder))


def test_an_output_with_another_content_is_refused(folder: Path) -> None:
    (folder / "models/training.csv").write_text(HISTORY + "3,0.1,0.1,1,1\n")
    with pytest.raises(ReplayError, match=r"models/training\.csv is not the one of dvc\.lock.*dvc checkout"):
        check_files(folder, recorded_stages(folder))


def test_a_stage_that_read_other_data_than_there_are_is_refused(folder: Path) -> None:
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    for dep in lock["stages"]["train"]["deps"]:
        dep["md5"] = "0" if dep["path"] == "data/crops.csv" else dep["md5"]
    Path("dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    with pytest.raises(ReplayError, match=r"train has read another data/crops\.csv than dvc\.lock has now"):
        check_files(folder, recorded_stages(folder))


def test_a_command_that_names_too_little_is_refused(folder: Path) -> None:
    Path("dvc.lock").write_text(Path("dvc.lock").read_text().replace("--figure", "--picture"))
    with pytest.raises(ReplayError, match=r"The command of crops in dvc\.lock, .* does not name --figure"):
        recorded_stages(folder)


@pytest.mark.parametrize(("section", "values"), [("clip", {"frames_in": "4"}), ("digest", {})])
def test_parameters_of_another_version_are_refused(folder: Path, section: str, values: dict) -> None:
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    lock["stages"]["crops"]["params"]["params.yaml"][section] = values
    Path("dvc.lock").write_text(yaml.safe_dump(lock))
    with pytest.raises(ReplayError, match=r"The parameters of crops in dvc\.lock are not of this version"):
        recorded_stages(folder)
