"""The scores of other people's papers, by hand and by what they must obey."""

import literature
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from skimage.metrics import structural_similarity

from physicnet.evaluation.scoring import Case
from physicnet.fields import DataError, Field
from physicnet.metrics import event_sums

RNG = np.random.default_rng(0)


def test_errors_of_pictures_are_summed_over_the_cells_of_a_frame_in_shares_of_the_brightest() -> None:
    truth = np.zeros((2, 7, 8), np.float32)
    forecast = truth.copy()
    forecast[0, 2, 3], forecast[0, 4, 4], forecast[1, 0, 0] = 255.0, -51.0, 510.0
    found = literature.picture_sums(forecast, truth, brightest=255.0)
    np.testing.assert_allclose(found["squared"], [1.0 + 0.04, 4.0])
    np.testing.assert_allclose(found["absolute"], [1.2, 2.0])
    # Held within 0 and 1, each frame has one cell of 56 that is wrong by 1.
    np.testing.assert_allclose(found["psnr"], 10 * np.log10(56))


def test_a_picture_without_error_is_alike_and_without_noise() -> None:
    truth = RNG.uniform(0, 255, (3, 9, 8)).astype(np.float32)
    found = literature.picture_sums(truth, truth, brightest=255.0)
    np.testing.assert_allclose([found["ssim_1"], found["ssim_2"]], 1.0)
    assert np.isposinf(found["psnr"]).all()


def test_similarity_of_pictures_is_that_of_bytes_or_of_a_wider_range() -> None:
    truth, forecast = RNG.integers(0, 256, (2, 2, 12, 11), dtype=np.uint8)
    found = literature.picture_sums(forecast.astype(np.float32), truth.astype(np.float32), brightest=255.0)
    pairs = list(zip(forecast, truth, strict=True))
    np.testing.assert_allclose(found["ssim_1"], [structural_similarity(*pair) for pair in pairs], rtol=1e-6)
    wide = [structural_similarity(*pair, data_range=510) for pair in pairs]
    np.testing.assert_allclose(found["ssim_2"], wide, rtol=1e-6)


def test_errors_of_simulations_are_scaled_frame_by_frame() -> None:
    truth = np.float32([[[1, 3], [1, 3]], [[2, 2], [6, 6]]])
    found = literature.simulation_sums(truth + np.float32([[[0.5]], [[3.0]]]), truth)
    np.testing.assert_allclose(found["vrmse"], [0.5 / 1.0, 3.0 / 2.0], rtol=1e-6)
    np.testing.assert_allclose(found["nrmse"], [0.5 / np.sqrt(5), 3.0 / np.sqrt(20)], rtol=1e-6)


def test_the_mean_of_each_frame_has_a_vrmse_of_one_and_zero_an_nrmse_of_one() -> None:
    truth = RNG.normal(3.0, 2.0, (4, 6, 5))
    means = np.broadcast_to(truth.mean(axis=(1, 2), keepdims=True), truth.shape)
    np.testing.assert_allclose(literature.simulation_sums(means, truth)["vrmse"], 1.0, rtol=1e-6)
    np.testing.assert_allclose(literature.simulation_sums(0 * truth, truth)["nrmse"], 1.0)


def test_a_truth_of_zeros_has_no_finite_nrmse() -> None:
    found = literature.simulation_sums(np.ones((1, 2, 3)), np.zeros((1, 2, 3)))
    assert np.isposinf(found["nrmse"]).all()


def test_scores_of_simulations_are_means_over_the_leads_of_a_window() -> None:
    leads = pd.DataFrame({"lead": np.arange(1, 13), "frames": 2.0, "vrmse": 2.0 * np.arange(1, 13), "nrmse": 1.0})
    found = literature.simulation_scores(leads)
    assert found == pytest.approx({"VRMSE 1": 1, "VRMSE 6–12": 9, "nRMSE 1": 0.5, "nRMSE 6–12": 0.5})  # no 13 to 30


def test_csi_of_storms_is_one_of_all_cells_and_frames_and_its_mean_over_thresholds() -> None:
    leads = pd.DataFrame(
        {
            "lead": [1, 2],
            **{"hits_16": [3.0, 0.0], "misses_16": [1.0, 2.0], "false_alarms_16": [0.0, 2.0]},
            **{"hits_74": [1.0, 0.0], "misses_74": [0.0, 1.0], "false_alarms_74": [2.0, 0.0]},
        }
    )
    found = literature.storm_scores(leads)
    assert found == pytest.approx({"CSI 16": 3 / 8, "CSI 74": 1 / 4, "CSI-M": 5 / 16})


def case_of(truth: np.ndarray, error: float, start: int) -> Case:
    times = np.datetime64("2000-01-01", "ns") + np.arange(2) * np.timedelta64(1, "s")
    past = {name: (("time", "y", "x"), np.zeros((2, 3, 4), np.float32), {"units": "1"}) for name in ("u", "v")}
    return Case(start, Field(xr.Dataset(past, {"time": times})), truth, {"one": truth + error, "two": truth})


def test_sums_of_all_origins_give_the_scores_of_all_frames() -> None:
    truths = RNG.normal(2.0, 1.0, (3, 7, 2, 3, 4))  # origin k c h w
    cases = [case_of(truth, 0.3 * (index + 1), start=5 * index) for index, truth in enumerate(truths)]
    sums = pd.concat(literature.sums_of(literature.SIMULATIONS, case) for case in cases).assign(seed=0)
    assert sums.groupby(literature.KEYS).size().max() == 1
    found = literature.scores_of(literature.SIMULATIONS, sums).set_index(["model", "variable"])
    errors = np.array([0.3, 0.6, 0.9])[:, None]
    ratios = errors / truths[:, :, 1].std(axis=(2, 3))
    assert found.loc[("one", "v"), "VRMSE 1"] == pytest.approx(ratios[:, 0].mean(), rel=1e-5)
    assert (found.loc["two"][["VRMSE 1", "nRMSE 1"]] == 0).all(axis=None)


def test_storms_need_no_sums_but_those_of_all_fields() -> None:
    truth = RNG.uniform(0, 100, (2, 2, 3, 4))
    truth[0, 0, 1] = np.nan
    sums = literature.sums_of(literature.STORMS, case_of(truth, 20.0, start=0)).assign(seed=0)
    assert list(sums) == [*literature.KEYS, "seed"]
    counts = [event_sums(truth[:, channel] + 20.0, truth[:, channel], 50.0) for channel in (0, 1)]
    for name in counts[0]:
        sums[f"{name}_50"] = np.concatenate([[*counts[channel][name]] * 2 for channel in (0, 1)])
    found = literature.scores_of(literature.STORMS, sums)
    hits, false = counts[0]["hits"].sum(), counts[0]["false_alarms"].sum()
    assert found["CSI-M"].iloc[0] == pytest.approx(hits / (hits + false))


def test_scores_of_whole_frames_refuse_missing_values() -> None:
    truth = np.zeros((2, 2, 3, 4))
    truth[1, 1, 0, 0] = np.nan
    with pytest.raises(DataError, match="v has missing values in the frames after 2000-01-01.*leave this sequence out"):
        literature.sums_of(literature.SIMULATIONS, case_of(truth, 1.0, start=0))
