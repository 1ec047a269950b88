import numpy as np
import pandas as pd
import pytest

from physicnet.config import EvaluateConfig
from physicnet.evaluation.pooling import block_length, headline, means, per_origin, pooled

CONFIG = EvaluateConfig(baselines=[], thresholds={"rain": [1.0]}, fss_scale=3, bootstrap_samples=200, seed=0)


@pytest.fixture
def sums() -> pd.DataFrame:
    """Two models, two origins, one lead; only the model's errors differ between the origins."""
    rows = []
    for model, errors in {"model": (2.0, 6.0), "persistence": (8.0, 8.0)}.items():
        for origin, error in enumerate(errors):
            where = {"model": model, "origin": origin, "time": np.datetime64("2020-01-01"), "variable": "rain"}
            lead = {"units": "mm h-1", "lead": 1, "lead_minutes": 5.0}
            totals = {"cells": 2.0, "error": -1.0, "absolute_error": error, "squared_error": error}
            events = {"hits_1": 1.0, "misses_1": float(origin), "false_alarms_1": 1.0}
            fractions = {"fraction_error_1": 1.0, "fraction_reference_1": 4.0}
            rest = {"similarity": 1.0, "similarity_cells": 2.0, "small_scale": 3.0, "small_scale_truth": 4.0}
            rows.append(where | lead | totals | events | fractions | rest)
    return pd.DataFrame(rows)


def test_scores_of_pooled_sums_are_those_worked_by_hand(sums: pd.DataFrame) -> None:
    row = pooled(sums, CONFIG).set_index("model").loc["model"]
    assert row["rmse"] == pytest.approx(np.sqrt(8 / 4))
    assert row["mae"] == 2
    assert row["bias"] == -0.5
    assert row["csi_1"] == 2 / 5
    assert row["fss_1"] == 0.75
    assert row["ssim"] == 0.5
    assert row["sharpness"] == 0.75
    assert row["skill"] == 0.5
    assert (row["skill_low"], row["skill_high"]) == (0.25, 0.75)  # all draws of one origin twice


def test_persistence_has_no_skill_and_no_interval(sums: pd.DataFrame) -> None:
    row = pooled(sums, CONFIG).set_index("model").loc["persistence"]
    assert (row["skill"], row["skill_low"], row["skill_high"]) == (0, 0, 0)


def test_scores_per_origin_stand_beside_their_sums(sums: pd.DataFrame) -> None:
    table = per_origin(sums)
    assert table["skill"].tolist() == [0.75, 0.25, 0, 0]
    assert table["csi_1"].tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 2, 1 / 3])
    assert table["squared_error"].tolist() == [2, 6, 8, 8]


def test_a_threshold_of_another_variable_gives_no_score(sums: pd.DataFrame) -> None:
    other = sums.assign(variable="wind").rename(columns=lambda name: name.replace("_1", "_7") if "_1" in name else name)
    table = pooled(pd.concat([sums, other], ignore_index=True), CONFIG).set_index(["variable", "model"])
    assert np.isnan(table.loc[("rain", "model"), "csi_7"])
    assert table.loc[("wind", "model"), "csi_7"] == 2 / 5
    assert np.isnan(table.loc[("wind", "model"), "fss_1"])


@pytest.mark.parametrize(
    ("origins", "leads", "block"),
    [
        ([5], 12, 1),
        ([5, 6, 7, 8, 9, 10, 11], 12, 3),  # all share frames: at most half of them
        (list(range(0, 100, 4)), 12, 3),  # forecasts less than 12 frames apart share frames
        (list(range(0, 100, 20)), 12, 1),  # none share frames
        (list(range(50)), 12, 12),
    ],
)
def test_blocks_are_as_long_as_origins_share_frames(origins: list[int], leads: int, block: int) -> None:
    assert block_length(np.array(origins), leads) == block


def test_means_are_over_the_leads_where_a_score_is_defined() -> None:
    rows = {"lead": [1, 2], "lead_minutes": [5.0, 10.0], "rmse": [1.0, 3.0], "csi_1": [0.5, np.nan], "csi_2": np.nan}
    scores = pd.DataFrame({"model": "model", "variable": "rain", "units": "mm h-1"} | rows)
    assert means(scores.assign(skill_low=0.0, skill_high=1.0)) == {"model": {"rain": {"rmse": 2.0, "csi_1": 0.5}}}


def test_the_headline_is_the_worst_share_of_a_rivals_error() -> None:
    rows = {"lead": [1, 2] * 2, "rmse": [1.0, 3.0, 2.0, 4.0], "mae": [1.0, 1.0, 2.0, 4.0]}
    scores = pd.DataFrame({"model": ["model"] * 2 + ["rival"] * 2, "variable": "rain"} | rows)
    assert headline(scores, "model") == {
        "rain": {"rmse_of_rival_worst_lead": 0.75, "mae_of_rival_worst_lead": 0.5},
    }
