import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from forecasting.storing import put
from typer.testing import CliRunner
from verification.filings import file, make_project, record

from physicnet import cli
from physicnet.config import Params, load_params
from physicnet.data.synthetic import write_netcdf
from physicnet.fields import DataError
from physicnet.forecasting import cf
from physicnet.verification.against import Verified, found, verify

FIELD = record()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder in which a record was ingested and normalized; `observed` holds all of it."""
    return make_project(tmp_path, FIELD)


def parameters(project: Path) -> Params:
    return load_params(project / "params.yaml")


def run(project: Path, forecasts: str = "forecasts") -> Verified:
    return verify(project / forecasts, project / "observed", project / "results", parameters(project), project)


def test_models_are_scored_beside_each_other_and_the_baselines_on_the_forecasts_that_they_share(project: Path) -> None:
    for origin in (8, 9, 18):
        file(project / "forecasts", FIELD, origin, too_much=0.5, leads=min(3, 19 - origin))
    for origin in (9, 10, 18):
        file(project / "forecasts" / "theirs", FIELD, origin, too_much=1.0, leads=min(3, 19 - origin))
    assert run(project) == (2, 2, 0)
    scores = pd.read_csv(project / "results" / "scores.csv")
    errors = scores.groupby("model", sort=False)["rmse"].first()
    assert errors.index.tolist() == ["forecasts", "theirs", "persistence", "climatology"]
    assert errors[:2].tolist() == pytest.approx([0.5, 1.0], rel=1e-4)
    assert scores["lead"].max() == 1  # one of the forecasts has no more
    assert {path.name for path in (project / "results" / "figures").iterdir()} >= {"forecast.png", "skill.png"}
    means = json.loads((project / "results.json").read_text())
    assert means["forecasts"]["rate"]["rmse"] == pytest.approx(0.5, rel=1e-4)


def store(folder: Path, path: Path) -> Path:
    """Put the forecasts of a folder into a store."""
    put(path, [cf.read(each) for each in sorted(folder.glob("*.nc"))])
    return path


def test_a_store_is_scored_as_a_folder_is(project: Path) -> None:
    folder = project / "forecasts" / "theirs"
    for origin in (8, 9, 16):
        file(folder, FIELD, origin, too_much=0.1 * origin, learned_until="2020-01-01T00:40:00")
    tables = []
    for path in (folder, store(folder, project / "theirs.zarr")):
        assert run(project, str(path)) == (3, 3, 1)
        tables.append({name: (project / "results" / name).read_bytes() for name in ("scores.csv", "origins.csv")})
        shutil.rmtree(project / "results")
    assert tables[0] == tables[1]


def test_folders_and_stores_stand_side_by_side(project: Path) -> None:
    file(project / "forecasts" / "theirs", FIELD, 8)
    for name in ("ours", "others"):
        store(project / "forecasts" / "theirs", project / "forecasts" / f"{name}.zarr")
    (project / "forecasts" / ".ours.zarr.observations").mkdir()
    assert [model.name for model in found(project / "forecasts")] == ["others", "ours", "theirs"]
    (project / "forecasts" / "others.zarr").rename(project / "forecasts" / "theirs.zarr")
    with pytest.raises(DataError, match="forecasts: two models would be called theirs; rename a folder or a store"):
        found(project / "forecasts")


def test_forecasts_that_are_not_observed_to_their_end_wait(project: Path) -> None:
    for origin in (8, 16):
        file(project / "forecasts", FIELD, origin)
    write_netcdf(FIELD.isel(0, 14), project / "observed" / "record.nc")
    (project / "forecasts" / "theirs").rmdir()
    assert run(project) == (1, 2, 0)


def test_the_command_prints_the_table(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    path = file(project / "forecasts", FIELD, 8)
    told = CliRunner().invoke(cli.app, ["verify", str(path), "observed/record.nc"])
    assert told.exit_code == 0, told.output
    assert "1 of 1 forecasts were scored" in told.output
    assert (project / "verification" / "scores.csv").is_file()


def test_what_cannot_be_scored_is_refused(project: Path) -> None:
    with pytest.raises(DataError, match=r"forecasts holds no forecast: no file \*.nc, no store \*.zarr, nor a folder"):
        run(project)
    file(project / "forecasts", FIELD, 16)
    write_netcdf(FIELD.isel(0, 14), project / "observed" / "record.nc")
    with pytest.raises(DataError, match="none of 1 forecasts can be scored: observations reach from"):
        run(project)
    file(project / "forecasts" / "theirs", FIELD, 15)
    with pytest.raises(DataError, match="there is no time from which all of forecasts, theirs forecast"):
        run(project)


def test_nothing_is_replaced(project: Path) -> None:
    file(project / "forecasts", FIELD, 8)
    (project / "results").mkdir()
    (project / "results" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="results exists, and would be replaced"):
        run(project)
    assert [path.name for path in (project / "results").iterdir()] == ["thesis.txt"]


def test_forecasts_from_times_that_their_model_learned_from_are_counted(project: Path) -> None:
    path = file(project / "forecasts", FIELD, 8, learned_until="2020-01-01T00:40:00")
    assert run(project, str(path)) == (1, 1, 1)


def test_a_record_that_changed_since_it_was_split_is_refused(project: Path) -> None:
    file(project / "forecasts", FIELD, 8)
    FIELD.isel(1, 20).save(project / "fields.zarr")
    with pytest.raises(DataError, match="has changed within its training part since it was split: that reached from"):
        run(project)


def test_a_model_is_not_called_as_a_baseline(project: Path) -> None:
    (project / "forecasts" / "theirs").rename(project / "persistence")
    file(project / "persistence", FIELD, 8)
    with pytest.raises(DataError, match="the folder or store of forecasts persistence is called as a baseline is"):
        run(project, "persistence")


def test_without_a_training_there_are_no_baselines(project: Path) -> None:
    file(project / "forecasts", FIELD, 8)
    (project / "statistics.json").unlink()
    with pytest.raises(DataError, match="statistics of the last training are not there"):
        run(project)
