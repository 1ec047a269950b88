"""Forecasts that another program made and xarray alone wrote stand in the same table as ours."""

from datetime import datetime
from pathlib import Path

import pandas as pd
import pysteps_forecast
import pytest
from typer.testing import CliRunner
from verification.filings import file, make_project

from physicnet import cli
from physicnet.data.synthetic import Uniform, advected_field
from physicnet.fields import Field

pytest.importorskip("pysteps")
pytest.importorskip("cv2")
ORIGINS = (8, 9, 10)


def rain() -> Field:
    dataset = advected_field(20, 64, 72, flow=Uniform(2.0, 1.0), variable="rain_rate").dataset
    return Field(dataset.assign(rain_rate=dataset["rain_rate"].clip(min=0.0, keep_attrs=True)))


def test_a_forecast_of_pysteps_is_compared_in_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    field = rain()
    project = make_project(tmp_path, field)
    for name, number in {"CELLS": 1, "LEADS": 3}.items():
        monkeypatch.setattr(pysteps_forecast, name, number)
    first, last = (datetime(2020, 1, 1, 0, 5 * origin) for origin in (ORIGINS[0], ORIGINS[-1]))
    pysteps_forecast.main(project / "observed" / "record.nc", project / "forecasts" / "theirs", first, last)
    (project / "forecasts" / "ours").mkdir()
    for origin in ORIGINS:
        file(project / "forecasts" / "ours", field, origin, too_much=0.5)
    monkeypatch.chdir(project)
    told = CliRunner().invoke(cli.app, ["verify", "forecasts", "observed"])
    assert told.exit_code == 0, told.output
    assert "3 of 3 forecasts were scored" in told.output
    scores = pd.read_csv(project / "verification" / "scores.csv")
    errors = scores[scores["lead"] == 1].set_index("model")["rmse"]
    assert errors.index.tolist() == ["ours", "theirs", "persistence", "climatology"]
    assert errors["theirs"] < 0.6 * errors["persistence"]
    assert {"ours", "theirs"} <= set(told.output.split())
