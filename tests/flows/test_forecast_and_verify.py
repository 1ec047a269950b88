"""The flows that forecast and verify, by a model that was never trained, as small as one can be."""

import json
import os
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import dvc_folder
import numpy as np
import pandas as pd
import pytest
import yaml
from dvc.repo import Repo
from dvc.rwlock import rwlock
from forecasting.samples import NORMALIZER, save
from prefect.artifacts import Artifact
from prefect.client.schemas.objects import State
from safetensors.numpy import save_file
from training.conftest import CLIP

from flows import champion
from flows import forecast as forecasting
from flows import verify as verification
from flows.events import DRIFTED
from flows.observations import archive
from physicnet.config import IngestConfig, load_params
from physicnet.data.synthetic import Uniform, advected_field, write_netcdf
from physicnet.fields import Field
from physicnet.forecasting import cf
from physicnet.tracking.store import HistoryError
from physicnet.verification import ledger

ROOT = Path(__file__).parents[2]
FIELD = advected_field(16, 23, 29, flow=Uniform(1.0, 0.5))
INGEST = "true --raw data/raw --catalogue data/catalogue --resume .physicnet/ingest"
SPAN = {"start": "2020-01-01T00:00:00", "end": "2020-01-01T00:25:00"}
EVALUATE = "true --fields fields.zarr --statistics statistics.json --maps maps.safetensors"
FORECASTS = Path("data/forecasts")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose record is split, with a champion; ten frames are in data/raw."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # nobody listens there
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["ingest"]["variables"][0]["name"] = "rate"
    params["ingest"] |= {"coarsen": 1, "pattern": "*.nc", "memory_limit": "64 GiB"}
    params["clip"] = CLIP.model_dump()
    params["evaluate"] |= {"baselines": [], "thresholds": {"rate": [1.0]}, "bootstrap_samples": 20, "fss_scale": 4}
    params["normalize"] |= {"transforms": {"rate": []}, "standardize": {"rate": "global"}}
    params["machine"]["num_threads"] = 1
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    stages = {"ingest": {"cmd": INGEST}, "evaluate": {"cmd": EVALUATE}}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    FIELD.isel(0, 6).save(tmp_path / "fields.zarr")
    save_file(NORMALIZER.maps(), tmp_path / "maps.safetensors")
    (tmp_path / "statistics.json").write_text(
        json.dumps({"splits": {"train": [[0, 6]]}, "variables": NORMALIZER.to_dict(), "span": SPAN})
    )
    observe(0, 10)
    dvc_folder.init(tmp_path)
    checkpoint = save(tmp_path / "champion.safetensors", FIELD, IngestConfig.model_validate(params["ingest"]))
    for module in (forecasting, verification):
        monkeypatch.setattr(module, "champion_at_hand", lambda: checkpoint)
    return tmp_path


def observe(start: int, stop: int) -> None:
    write_netcdf(FIELD.isel(start, stop), Path("data/raw") / f"{start:02}.nc")


def forecast(at: datetime | None = None) -> State[Any]:
    return forecasting.forecast(at=at, return_state=True)


def verify() -> State[Any]:
    return verification.verify(return_state=True)


def change(section: str, **values: object) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    params[section] |= values
    Path("params.yaml").write_text(yaml.safe_dump(params))


def page(key: str) -> str:
    artifact = Artifact.get(key)
    assert artifact is not None
    return str(artifact.data)


@pytest.mark.usefixtures("_server", "project")
def test_a_forecast_is_made_once_from_the_newest_frames_and_again_when_there_are_newer_ones() -> None:
    state = forecast()
    path = FORECASTS / "2020-01-01T004500Z.nc"
    assert (state.name, state.message) == ("Forecast", f"{path}, from what was observed until 2020-01-01 00:45 UTC")
    assert cf.read(path).sizes["time"] == CLIP.frames_out
    assert page("forecast").startswith("rate from 2020-01-01 00:45 UTC\n\n![Forecast of rate](data:image/png;base64,")
    assert forecast().name == "Known"
    observe(10, 11)
    assert forecast().name == "Forecast"
    assert len(list(FORECASTS.iterdir())) == 2


@pytest.mark.usefixtures("_server", "project")
def test_frames_that_do_not_follow_each_other_allow_no_forecast_and_the_state_names_what_is_not_there() -> None:
    observe(11, 13)
    state = forecast()
    assert state.name == "Skipped"
    assert "not there: rate at 2020-01-01T00:50:00" in str(state.message)
    assert not FORECASTS.exists()


@pytest.mark.usefixtures("_server", "project")
def test_observations_that_are_read_by_other_rules_than_in_training_are_no_input() -> None:
    change("ingest", max_invalid=0.5)
    state = forecast()
    assert state.is_failed()
    assert "other rules (ingest.max_invalid: 0.05 there, 0.5 here)" in str(state.message)


@pytest.mark.usefixtures("_server", "project")
def test_a_file_that_cannot_be_used_fails_and_a_frame_in_which_nothing_was_observed_is_skipped() -> None:
    frames = FIELD.isel(10, 12).dataset.copy(deep=True)
    frames["rate"][1] = np.nan
    write_netcdf(Field(frames), Path("data/raw/10.nc"))
    state = forecast()
    assert state.name == "Skipped"
    assert "nothing was observed at 2020-01-01 00:55" in str(state.message)
    Path("data/raw/11.nc").write_text("no NetCDF")
    assert forecast().is_failed()


@pytest.mark.usefixtures("_server", "project")
def test_a_table_that_is_lost_is_not_begun_anew() -> None:
    assert forecast().name == "Forecast"
    observe(10, 12)
    assert verify().name == "Verified"
    Path("reports/verification.csv").unlink()
    state = verify()
    assert state.is_failed()
    assert "Bring it back: dvc checkout reports/verification.csv.dvc" in str(state.message)


@pytest.mark.usefixtures("_server", "project")
def test_files_that_ended_before_are_not_opened_unless_they_were_written_to() -> None:
    observe(10, 12)
    Path("data/catalogue").mkdir()
    rows = [("00.nc", "2020-01-01T00:45:00"), ("10.nc", "2020-01-01T00:55:00")]
    pd.DataFrame(rows, columns=["path", "last"]).to_csv("data/catalogue/files.csv", index=False)
    params = load_params(Path("params.yaml"))
    since = FIELD.times[10]
    assert [survey.source.name for survey in archive(params, since).surveys] == ["10.nc"]
    later = Path("data/catalogue/files.csv").stat().st_mtime + 1
    os.utime("data/raw/00.nc", (later, later))
    assert len(archive(params, since).surveys) == 2


@pytest.mark.usefixtures("_server", "project")
def test_a_forecast_from_a_time_gone_by_is_a_hindcast_and_is_not_verified_as_a_forecast() -> None:
    assert forecast(datetime(2020, 1, 1, 0, 20)).name == "Forecast"
    assert [path.name for path in Path("data/hindcasts").iterdir()] == ["2020-01-01T002000Z.nc"]
    assert verify().message == "0 forecasts scored"


@pytest.mark.usefixtures("_server", "project")
def test_what_has_come_true_is_scored_once_into_a_table_that_dvc_tracks() -> None:
    assert forecast().name == "Forecast"
    state = verify()
    assert (state.name, state.message) == ("Nothing", "0 forecasts scored")
    assert not Path("reports/verification.csv.dvc").exists()
    observe(10, 12)
    state = verify()
    assert (state.name, state.message) == ("Verified", "1 forecasts scored")
    table = ledger.read(Path("reports/verification.csv"))
    assert table.groupby("model")["forecasts"].max().to_dict() == {"persistence": 1, "physicnet": 1}
    out = yaml.safe_load(Path("reports/verification.csv.dvc").read_text())["outs"][0]
    assert out["path"] == "verification.csv"
    assert "| 30 Dec 2019 | 1 | RMSE, Persistence |" in page("skill")
    assert page("drift").startswith("Observations are like in training.")
    assert verify().name == "Nothing"


@pytest.mark.usefixtures("_server", "project")
def test_a_stage_that_writes_what_the_baselines_are_made_of_is_not_read_from() -> None:
    with Repo(".") as repo, rwlock(repo.tmp_dir, repo.fs, "repro", [], [str(Path("fields.zarr").absolute())], False):
        assert verify().name == "Busy"
    assert verify().name == "Nothing"


@pytest.mark.usefixtures("_server", "project")
def test_drift_is_a_state_and_asks_for_a_retrain(monkeypatch: pytest.MonkeyPatch) -> None:
    announced: list[tuple[str, Mapping[str, object]]] = []
    monkeypatch.setattr(verification, "announce", lambda event, payload: announced.append((event, payload)))
    drift = yaml.safe_load(Path("params.yaml").read_text())["verify"]["drift"]
    write_netcdf(Field(FIELD.isel(10, 16).dataset.where(FIELD.dataset["x"] < 9000)), Path("data/raw/10.nc"))
    change("verify", drift=drift | {"hours": 0.5})
    state = verify()
    assert state.name == "Drift"
    assert "beyond its limit: share of cells without rate" in str(state.message)
    (told,) = announced
    assert told[0] == DRIFTED
    assert told[1]["share of cells without rate"] == pytest.approx(20 / 29)
    assert "| **beyond** |" in page("drift")
    change("verify", drift=drift | {"hours": 0.5, "retrain": False})
    assert verify().name == "Drift"
    assert len(announced) == 1


@pytest.mark.usefixtures("_server", "project")
def test_forecasts_that_were_scored_and_made_long_before_the_latest_of_these_are_removed() -> None:
    FORECASTS.mkdir(parents=True)
    (FORECASTS / "mine.nc").write_text("not of the service")
    assert forecast().name == "Forecast"  # 00:45
    change("forecast", keep_days=0.003)  # four minutes
    verify()
    observe(10, 11)
    assert forecast().name == "Forecast"  # 00:50
    verify()
    assert len(list(FORECASTS.iterdir())) == 3  # nothing was scored yet
    observe(11, 16)
    verify()
    assert sorted(path.name for path in FORECASTS.iterdir()) == ["2020-01-01T005000Z.nc", "mine.nc"]


@pytest.mark.usefixtures("_server", "project")
def test_without_a_champion_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (forecasting, verification):
        monkeypatch.setattr(module, "champion_at_hand", lambda: None)
    assert forecast().name == "Skipped"
    assert verify().name == "Skipped"


class Registry:
    """Stands for the functions of the registry: a champion with a content, or a failure."""

    def __init__(self, content: str | None, error: Exception | None = None) -> None:
        self.content, self.error, self.copies = content, error, 0

    def champion_sha256(self, _: object) -> str | None:
        if self.error is not None:
            raise self.error
        return None if self.content is None else sha256(self.content.encode()).hexdigest()

    def copy_champion(self, _: object, target: Path) -> None:
        self.copies += 1
        if self.content == "lost":
            raise HistoryError("the checkpoint is another one than was registered")
        target.write_text(str(self.content))


def at_hand(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> str | None:
    from physicnet import registry as module

    for name in ("champion_sha256", "copy_champion"):
        monkeypatch.setattr(module, name, getattr(registry, name))
    monkeypatch.setattr(champion, "get_run_logger", lambda: champion_log)
    found = champion.champion_at_hand()
    return None if found is None else found.read_text()


class Log:
    """Keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str, *values: object) -> None:
        self.warnings.append(text % values)


champion_log = Log()


def test_the_champion_is_fetched_when_it_is_another_and_stays_when_the_registry_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert at_hand(Registry(None), monkeypatch) is None
    first = Registry("first")
    assert [at_hand(first, monkeypatch) for _ in range(2)] == ["first", "first"]
    assert first.copies == 1
    assert at_hand(Registry("second"), monkeypatch) == "second"
    assert champion_log.warnings == []
    assert at_hand(Registry(None, ConnectionError("nobody there")), monkeypatch) == "second"
    assert champion_log.warnings == ["the registry does not answer, the champion of before forecasts: nobody there"]
    assert at_hand(Registry(None), monkeypatch) is None
    with pytest.raises(HistoryError, match="another one than was registered"):
        at_hand(Registry("lost"), monkeypatch)


def test_without_a_champion_of_before_a_registry_that_does_not_answer_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(ConnectionError):
        at_hand(Registry(None, ConnectionError("nobody there")), monkeypatch)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert at_hand(Registry(None, HistoryError("nothing was trained")), monkeypatch) is None
