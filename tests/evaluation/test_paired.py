import numpy as np
import pandas as pd
import pytest
from tested import origins_table

from physicnet.config import EvaluateConfig
from physicnet.evaluation.paired import COLUMNS, paired

CONFIG = EvaluateConfig(baselines=[], thresholds={"rain": [1.0]}, fss_scale=3, bootstrap_samples=200, seed=0)


def model(table: pd.DataFrame, name: str = "physicnet") -> pd.DataFrame:
    return table[table["model"] == name]


def test_errors_are_ratios_and_noise_that_both_share_cancels() -> None:
    found = paired(model(origins_table(0.25)), model(origins_table()), CONFIG)
    assert list(found) == COLUMNS
    assert found["lead_minutes"].tolist() == [5, 10, 15] * 3
    rmse = found[found["score"] == "rmse"]
    np.testing.assert_allclose(rmse[["value", "low", "high"]], 0.5, rtol=1e-12)
    np.testing.assert_allclose(found.loc[found["score"] == "mae", "value"], 0.25, rtol=1e-12)


def test_csi_is_a_difference() -> None:
    found = paired(model(origins_table()).assign(hits_1=8), model(origins_table()).assign(hits_1=3), CONFIG)
    row = found[(found["score"] == "csi_1") & (found["lead"] == 1)].iloc[0]
    assert row["value"] == pytest.approx(32 / (32 + 4 + 6) - 12 / (12 + 4 + 6))
    assert row["low"] <= row["value"] <= row["high"]


def test_the_interval_holds_what_the_draws_of_origins_give() -> None:
    """Two origins, drawn one by one: both errors of the first, of the second, or one of each."""
    one, other = (model(origins_table(times=("2020-06-01 12:00:00", "2020-06-01 12:05:00"), leads=1)) for _ in range(2))
    one, other = one.assign(squared_error=[1.0, 8.0]), other.assign(squared_error=[4.0, 2.0])
    row = paired(one, other, CONFIG).set_index("score").loc["rmse"]
    assert row["value"] == pytest.approx(np.sqrt(9 / 6))
    assert (row["low"], row["high"]) == pytest.approx((0.5, 2.0))


def test_one_origin_has_a_ratio_and_no_interval() -> None:
    table = model(origins_table(times=("2020-06-01 12:00:00",)))
    found = paired(table, table, CONFIG)
    assert found["value"][0] == 1
    assert found[["low", "high"]].isna().all(axis=None)
