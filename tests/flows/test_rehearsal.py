"""The service from end to end, real in every part, on a record so small that a training takes seconds."""

from pathlib import Path

import xarray as xr
import yaml
from tiny_project import FLOW, SMALL

from flows.rehearsal import Play, rehearse
from physicnet.data.synthetic import Uniform, advected_field, write_netcdf
from physicnet.forecasting import cf
from physicnet.verification import ledger

CHANGES = SMALL | {
    "retrain": {"minimum_new_frames": 6},
    "collect": {"settled": 1},
    "promote": {"must_beat": []},
}


def test_observations_that_arrive_are_collected_forecast_from_verified_and_trained_on(tmp_path: Path) -> None:
    record = tmp_path / "record.nc"
    write_netcdf(advected_field(46, 60, 68, flow=Uniform(*FLOW)), record)
    happened = rehearse(Play(record, first=40, at_once=3, verify_after=2, changes=CHANGES), tmp_path / "rehearsal")
    project = tmp_path / "rehearsal" / "project"
    assert [each.state for each in happened if each.flow == "collect" and not each.was_idle] == ["Collected"] * 2
    forecasts = sorted((project / "data" / "forecasts").glob("*.nc"))
    assert [path.name for path in forecasts] == ["2020-01-01T033000Z.nc", "2020-01-01T034500Z.nc"]
    table = ledger.read(project / "reports" / "verification.csv")
    assert table[table["model"] == "physicnet"]["forecasts"].tolist() == [
        1,
        1,
        1,
    ]  # of the first alone the end has come
    tracked = yaml.safe_load((project / "reports" / "verification.csv.dvc").read_text())["outs"][0]["path"]
    assert tracked == "verification.csv"
    splits = xr.open_zarr(project / "data" / "fields.zarr", consolidated=False).sizes["time"]
    assert splits == 46  # the last retrain has seen all
    assert cf.read(forecasts[-1]).attrs["physicnet_observations"].endswith("2020-01-01T03:45:00")
