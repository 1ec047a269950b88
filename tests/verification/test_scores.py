from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from verification.filings import CLIP, EVALUATE, MODEL, file, record, reference

from physicnet.config import Params, load_params
from physicnet.fields import DataError, Field
from physicnet.verification import ledger
from physicnet.verification.filed import Filed
from physicnet.verification.scores import Scored, add_due, due, on_the_beat, score

FIELD = record(600)  # two days and two hours
STEP = np.timedelta64(5, "m")
REFERENCE = reference(FIELD)
PARAMS: Params = load_params(Path(__file__).parents[2] / "params.yaml").model_copy(
    update={"clip": CLIP, "evaluate": EVALUATE}
)


def observe(first: np.datetime64, last: np.datetime64) -> Field:
    return Field(FIELD.dataset.sel(time=slice(first, last)))


def forecasts(folder: Path, *origins: int, too_much: float = 0.5, leads: int = 3) -> Filed:
    for origin in origins:
        file(folder, FIELD, origin, too_much=too_much, leads=leads)
    return Filed.of("physicnet", sorted(folder.glob("*.nc")))


def add(folder: Path, filed: Filed, newest: int) -> int:
    return added(folder, filed, newest).num


def added(folder: Path, filed: Filed, newest: int) -> Scored:
    return add_due(folder / "table.csv", filed, observe, FIELD.times[newest], REFERENCE, PARAMS)


def test_a_forecast_is_due_when_its_last_lead_has_been_observed(tmp_path: Path) -> None:
    filed = forecasts(tmp_path, 10, 11, 12)
    times = FIELD.times
    assert due(filed, after=None, step=STEP, until=times[14]) == [times[10], times[11]]
    assert due(filed, after=times[10], step=STEP, until=times[14]) == [times[11]]
    assert due(filed, after=None, step=STEP, until=times[12]) == []


def test_forecasts_are_scored_beside_the_baselines_once(tmp_path: Path) -> None:
    filed = forecasts(tmp_path, 10, 11, 300)
    assert add(tmp_path, filed, 290) == 2
    assert add(tmp_path, filed, 290) == 0
    assert add(tmp_path, filed, 599) == 1
    table = ledger.read(tmp_path / "table.csv")
    ours = table[table["model"] == "physicnet"]
    assert ours["forecasts"].tolist() == [2, 2, 2, 1, 1, 1]
    assert ours["day"].dt.day.tolist() == [1, 1, 1, 2, 2, 2]
    assert set(table["checkpoint"]) == {MODEL}
    np.testing.assert_allclose(ours["squared_error"], 0.25 * ours["cells"], rtol=1e-5)
    assert ours["cells"].tolist() == [2 * 12 * 14] * 3 + [12 * 14] * 3
    assert set(table["model"]) == {"physicnet", "persistence"}
    persistence = table[(table["model"] == "persistence") & (table["lead"] == 2)].iloc[0]
    moved = [FIELD.frames(origin, origin + 1) - FIELD.frames(origin + 2, origin + 3) for origin in (10, 11)]
    assert persistence["squared_error"] == pytest.approx(np.square(moved).sum(), rel=1e-5)


def test_one_that_cannot_be_scored_is_named_and_keeps_no_other_from_it(tmp_path: Path) -> None:
    forecasts(tmp_path, 10, 12)
    file(tmp_path, Field(FIELD.dataset.isel(y=slice(5))), 11)
    filed = Filed.of("physicnet", sorted(tmp_path.glob("*.nc")))
    scored = added(tmp_path, filed, 599)
    assert scored.num == 2
    assert list(scored.refused) == ["2020-01-01T00:55:00"]
    assert "the observations have 12 along y" in scored.refused["2020-01-01T00:55:00"]
    assert add(tmp_path, filed, 599) == 0


def test_a_longer_forecast_from_before_is_waited_for(tmp_path: Path) -> None:
    file(tmp_path, FIELD, 11, leads=1)
    filed = forecasts(tmp_path, 10)
    assert add(tmp_path, filed, 12) == 0
    assert add(tmp_path, filed, 13) == 2


def test_what_comes_after_its_time_is_no_forecast(tmp_path: Path) -> None:
    assert add(tmp_path, forecasts(tmp_path, 20), 599) == 1
    assert add(tmp_path, forecasts(tmp_path, 10), 599) == 0


def test_the_sums_of_a_day_are_those_of_its_forecasts_whenever_they_are_scored(tmp_path: Path) -> None:
    for folder, newest in (("once", [599]), ("twice", [14, 599])):
        (tmp_path / folder).mkdir()
        filed = forecasts(tmp_path / folder, 10, 11, 12)
        assert sum(add(tmp_path / folder, filed, each) for each in newest) == 3
    tables = [ledger.read(tmp_path / folder / "table.csv") for folder in ("once", "twice")]
    pd.testing.assert_frame_equal(*tables, rtol=1e-7)


def test_frames_that_were_never_observed_are_not_scored(tmp_path: Path) -> None:
    def with_a_gap(first: np.datetime64, last: np.datetime64) -> Field:
        return Field(observe(first, last).dataset.drop_sel(time=FIELD.times[12]))

    sums, _ = score(forecasts(tmp_path, 10), [FIELD.times[10]], with_a_gap, REFERENCE, PARAMS)
    assert sums[sums["model"] == "physicnet"]["cells"].tolist() == [12 * 14, 0, 12 * 14]


def test_a_forecast_of_other_leads_is_scored_at_its_own(tmp_path: Path) -> None:
    sums, _ = score(forecasts(tmp_path, 10, leads=2), [FIELD.times[10]], observe, REFERENCE, PARAMS)
    assert sums[sums["model"] == "persistence"]["lead"].tolist() == [1, 2]


def test_a_frame_between_the_steps_is_named() -> None:
    odd = FIELD.dataset.isel(time=slice(0, 3)).assign_coords(time=FIELD.times[:3] + np.array([0, 60, 0], "m8[s]"))
    with pytest.raises(DataError, match="a frame of 2020-01-01T00:06:00, off the time step of 300 s"):
        on_the_beat(Field(odd), FIELD.times[0], FIELD.times[2], STEP)
