import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file, save_file

from physicnet.cycles import Cycles
from physicnet.fields import DataError
from physicnet.normalization import Normalizer, Standardization
from physicnet.transforms import Decibel, Log1p, Power

TIMES = np.datetime64("2019-03-01T22:00", "ns") + np.arange(3) * np.timedelta64(1, "h")
GENERATOR = np.random.default_rng(0)
DAY_AND_YEAR = Cycles(
    GENERATOR.normal(0.0, 3.0, (24, 2, 5)).astype(np.float32),
    GENERATOR.normal(0.0, 9.0, (4, 2, 5)).astype(np.float32),
    np.full(24, True),
)
MEANS, STDS = (GENERATOR.uniform(0.5, 2.0, (2, 5)).astype(np.float32) for _ in range(2))

RAIN = Standardization("rain", (Decibel(threshold=0.1, floor=-15.0),), mean=-9.0, std=6.0)
WIND = Standardization("wind", (), mean=2.0, std=7.5)
SNOW = Standardization("snow", (Power(0.7), Log1p(2.0)), mean=0.4, std=0.5)
HEAT = Standardization("heat", (), 0.1, 2.5, DAY_AND_YEAR)
DUST = Standardization("dust", (Log1p(0.5),), MEANS, STDS, DAY_AND_YEAR)
POINTWISE = Normalizer((RAIN, WIND, SNOW))
NORMALIZER = Normalizer((RAIN, WIND, SNOW, HEAT, DUST))

# Single-precision numbers as files hold them; 0.125 and not 0.1, because bounds must be representable.
wet = st.floats(0.125, 512, width=32) | st.just(0.0)
any_sign = st.floats(-50, 50, width=32)
missing = st.just(float("nan"))


def grids(elements: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float32, (3, 1, 2, 5), elements=elements | missing)


@given(st.tuples(grids(wet), grids(any_sign), grids(wet), grids(any_sign), grids(wet)))
def test_denormalize_undoes_normalize_for_arrays_and_tensors(channels: tuple[np.ndarray, ...]) -> None:
    values = np.concatenate(channels, axis=1)
    for form in (values, torch.from_numpy(values)):
        back = NORMALIZER.denormalize(NORMALIZER.normalize(form, TIMES), TIMES)
        assert type(back) is type(form)
        assert back.dtype == form.dtype
        # Near zero powers are steep; an anomaly is rounded as coarsely as what it is measured against.
        np.testing.assert_allclose(np.asarray(back)[:, :4], values[:, :4], rtol=3e-5, atol=1e-5)
        np.testing.assert_allclose(np.asarray(back)[:, 4], values[:, 4], rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize(("low", "high"), [(0.0, 3.0), (None, 3.0), (0.0, None)])
def test_no_forecast_leaves_the_valid_range(low: float | None, high: float | None) -> None:
    values = np.array([-2.0, -1.0, 0.0, 2.0, np.nan], np.float32).reshape(1, 1, 1, 5)
    bounded = Normalizer((Standardization("wind", (), mean=1.0, std=2.0, valid_min=low, valid_max=high),))
    again = Normalizer.from_dict(json.loads(json.dumps(bounded.to_dict())), {})
    expected = np.clip(2 * values + 1, low, high)
    for form in (values, torch.from_numpy(values)):
        found = again.denormalize(form, TIMES[:1])
        assert type(found) is type(form)
        np.testing.assert_allclose(np.asarray(found), expected)


@given(grids(any_sign))
def test_arrays_and_tensors_agree(values: np.ndarray) -> None:
    alone = Normalizer((HEAT,))
    tensor = alone.normalize(torch.from_numpy(values), TIMES).numpy()
    np.testing.assert_allclose(tensor, alone.normalize(values, TIMES), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.isnan(tensor), np.isnan(values))


def test_steps_follow_each_other_by_hand() -> None:
    values = np.ones((3, 2, 5))
    np.testing.assert_allclose(RAIN.normalize(values, TIMES), (0 + 9) / 6)
    np.testing.assert_allclose(SNOW.normalize(values, TIMES), (np.log(1.5) - 0.4) / 0.5)
    np.testing.assert_allclose(HEAT.normalize(values, TIMES), (1 - DAY_AND_YEAR.at(TIMES) - 0.1) / 2.5)
    expected = (np.log(3) - DAY_AND_YEAR.at(TIMES) - MEANS) / STDS
    np.testing.assert_allclose(DUST.normalize(values, TIMES), expected)


def test_every_frame_is_measured_against_its_own_time() -> None:
    frames = np.zeros((4, 3, 1, 2, 5), np.float32)  # a batch of clips
    found = Normalizer((HEAT,)).normalize(frames, TIMES)
    for index in range(3):
        alone = Normalizer((HEAT,)).normalize(frames[0, index : index + 1], TIMES[index : index + 1])
        np.testing.assert_array_equal(found[2, index : index + 1], alone)
    assert len(np.unique(found[0])) > 20


def test_rescaled_values_are_as_many_times_stronger() -> None:
    values = np.abs(GENERATOR.normal(1.0, 0.3, (4, 3, 3, 1, 2)))
    stronger = POINTWISE.rescale(POINTWISE.normalize(values, TIMES), 3.0)
    np.testing.assert_allclose(POINTWISE.denormalize(stronger, TIMES), 3 * values)


def test_what_is_pointwise_fits_any_grid() -> None:
    assert [channel.is_pointwise for channel in NORMALIZER.channels] == [True, True, True, False, False]
    assert not Standardization("dust", (), MEANS, STDS).is_pointwise
    assert [channel.grid for channel in NORMALIZER.channels] == [None, None, None, (2, 5), (2, 5)]
    assert Standardization("dust", (), MEANS, STDS).grid == (2, 5)


def test_the_reach_of_a_variable_by_hand() -> None:
    assert WIND.reach(2.0) == pytest.approx((-13, 17))
    assert RAIN.reach(3.0) == pytest.approx((0, 10**0.9))  # -27 dB is no rain
    low, high = DAY_AND_YEAR.bounds()
    assert HEAT.reach(1.0) == pytest.approx((low.min() + 0.1 - 2.5, high.max() + 0.1 + 2.5), rel=1e-6)


def test_a_normalizer_survives_its_files_in_the_order_of_its_channels(tmp_path: Path) -> None:
    statistics, maps = tmp_path / "statistics.json", tmp_path / "maps.safetensors"
    statistics.write_text(json.dumps({"variables": NORMALIZER.to_dict()}, sort_keys=True))
    save_file(NORMALIZER.maps(), maps)
    loaded = Normalizer.load(statistics, maps)
    assert loaded.variables == ("rain", "wind", "snow", "heat", "dust")
    values = GENERATOR.uniform(0.0, 9.0, (3, 5, 2, 5)).astype(np.float32)
    np.testing.assert_array_equal(loaded.normalize(values, TIMES), NORMALIZER.normalize(values, TIMES))


def test_maps_survive_however_they_lie_in_memory(tmp_path: Path) -> None:
    oddly = replace(DAY_AND_YEAR, hourly=np.asfortranarray(DAY_AND_YEAR.hourly))
    channel = replace(DUST, mean=np.asfortranarray(MEANS), cycles=oddly)
    save_file(channel.maps(), tmp_path / "maps.safetensors")
    loaded = Standardization.from_dict(channel.to_dict(), load_file(tmp_path / "maps.safetensors"))
    np.testing.assert_array_equal(
        loaded.normalize(np.ones((3, 2, 5)), TIMES), DUST.normalize(np.ones((3, 2, 5)), TIMES)
    )


@pytest.mark.parametrize("name", ["statistics.json", "maps.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    for other in {"statistics.json", "maps.safetensors"} - {name}:
        (tmp_path / other).write_text("{}")
    with pytest.raises(DataError, match=rf"{name} does not exist; run the stage"):
        Normalizer.load(tmp_path / "statistics.json", tmp_path / "maps.safetensors")


@pytest.mark.parametrize(
    ("mean", "std"),
    [(0.0, 0.0), (1000.0, 1e-6), (np.nan, 1.0), (0.0, np.inf), (MEANS, STDS * np.float32([1, 1, 0, 1, 1]))],
)
def test_a_constant_or_missing_variable_is_named(mean: Any, std: Any) -> None:
    with pytest.raises(DataError, match="variable heat cannot be standardised"):
        Standardization("heat", (), mean, std)


@pytest.mark.parametrize("channel", [SNOW, DUST])
def test_a_value_below_the_domain_is_named_with_time_and_cell(channel: Standardization) -> None:
    values = np.full((3, 2, 5), np.nan, np.float32)
    values[1, 1, 3] = -0.25
    normalizer = Normalizer((WIND, channel))
    kind = channel.transforms[0].kind
    message = rf"{channel.variable} is -0\.25 at 2019-03-01T23:00.*, row 1, column 3, .* {kind} takes no value below 0"
    with pytest.raises(DataError, match=message):
        normalizer.check(np.stack([values, values], axis=1), TIMES)


def test_missing_zero_and_where_allowed_negative_values_pass_the_check() -> None:
    values = np.array([np.nan, 0.0, 1.0], np.float32)[:, None, None, None] * np.ones((1, 5, 2, 5), np.float32)
    values[:, [0, 1, 3]] -= 7  # a floor, nothing, and an anomaly take negative values
    NORMALIZER.check(values, TIMES)


@pytest.mark.parametrize("method", ["normalize", "denormalize"])
def test_a_wrong_number_of_channels_is_named(method: Any) -> None:
    with pytest.raises(DataError, match="2 channels given, but 5 known"):
        getattr(NORMALIZER, method)(np.zeros((3, 2, 5, 7)), TIMES)


@pytest.mark.parametrize("channel", [HEAT, replace(HEAT, cycles=None, mean=MEANS, std=STDS)])
@pytest.mark.parametrize("method", ["normalize", "denormalize"])
def test_another_grid_than_that_of_training_is_named(method: Any, channel: Standardization) -> None:
    with pytest.raises(DataError, match=r"statistics of heat are of \(2, 5\) .*, the frames have \(5, 7\)"):
        getattr(Normalizer((channel,)), method)(np.zeros((3, 1, 5, 7)), TIMES)
