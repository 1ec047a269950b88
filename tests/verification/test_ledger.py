from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from verification.filings import EVALUATE

from physicnet.fields import DataError
from physicnet.verification import ledger


def rows(day: str, *, squared_error: float, model: str = "physicnet", checkpoint: str = "a") -> pd.DataFrame:
    sums = {"cells": 10.0, "error": 0.0, "absolute_error": 1.0, "squared_error": squared_error}
    sums |= {"similarity": 1.0, "similarity_cells": 1.0, "small_scale": 1.0, "small_scale_truth": 1.0}
    key = {"day": pd.Timestamp(day), "checkpoint": checkpoint, "model": model, "variable": "rate", "units": "1"}
    span = {"forecasts": 1, "first": pd.Timestamp(day), "last": pd.Timestamp(day) + pd.Timedelta(hours=1)}
    return pd.DataFrame([key | {"lead": 1, "lead_minutes": 5.0} | span | sums])


def of_days(*days: str, squared_error: float) -> pd.DataFrame:
    """Of a model, and of persistence with four times its squared error."""
    tables = [
        rows(day, squared_error=error, model=model)
        for day in days
        for model, error in (("physicnet", squared_error), ("persistence", 4 * squared_error))
    ]
    return pd.concat(tables, ignore_index=True)


def test_weeks_begin_on_monday_and_pool_their_days() -> None:
    table = ledger.with_more(
        of_days("2026-11-20", "2026-11-22", squared_error=2.5), of_days("2026-11-23", squared_error=10.0)
    )
    weekly = ledger.weekly(table, 4, EVALUATE)
    ours = weekly[weekly["model"] == "physicnet"]
    assert ours["week"].dt.strftime("%d").tolist() == ["23", "16"]
    assert ours["forecasts"].tolist() == [1, 2]
    np.testing.assert_allclose(ours["rmse"], [1.0, 0.5])
    np.testing.assert_allclose(ours["skill"], [0.75, 0.75])
    assert set(ledger.weekly(table, 1, EVALUATE)["week"].dt.day) == {23}


def test_a_baseline_that_was_added_within_a_week_is_left_out_of_it() -> None:
    table = ledger.with_more(
        of_days("2026-11-23", "2026-11-24", squared_error=1.0),
        rows("2026-11-24", squared_error=2.0, model="advection"),
    )
    assert set(ledger.weekly(table, 1, EVALUATE)["model"]) == {"physicnet", "persistence"}


def test_a_promotion_within_a_day_keeps_the_models_apart_and_the_day_whole() -> None:
    table = ledger.with_more(
        rows("2026-11-23", squared_error=1.0), rows("2026-11-23", squared_error=3.0, checkpoint="b")
    )
    assert table["checkpoint"].tolist() == ["a", "b"]
    more = ledger.with_more(table, rows("2026-11-23", squared_error=1.0, checkpoint="b"))
    assert more[["checkpoint", "forecasts", "squared_error"]].to_numpy().tolist() == [["a", 1, 1.0], ["b", 2, 4.0]]


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    table = of_days("2026-11-20", squared_error=1 / 3)
    ledger.write(tmp_path / "reports" / "table.csv", table)
    found = ledger.read(tmp_path / "reports" / "table.csv")
    pd.testing.assert_frame_equal(found, table, rtol=1e-8, check_dtype=False)
    assert ledger.last_origin(found) == np.datetime64("2026-11-20T01:00")
    assert ledger.last_origin(ledger.read(tmp_path / "none.csv")) is None


def test_a_file_that_is_no_such_table_is_refused_with_the_way_back(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("day,first,last\n2026-11-20,2026-11-20,2026-11-20\n")
    with pytest.raises(DataError, match=r"table.csv has no column checkpoint, model, .*restore it: dvc checkout"):
        ledger.read(path)
