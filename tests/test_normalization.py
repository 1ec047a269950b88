import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from physicnet.fields import DataError
from physicnet.normalization import Decibel, Identity, Normalizer, Power, Standardization, transform_from_dict

RAIN = Standardization("rain", Decibel(threshold=0.1, floor=-15.0), mean=-9.0, std=6.0)
HEAT = Standardization("heat", Identity(), mean=280.0, std=7.5)
SNOW = Standardization("snow", Power(0.7), mean=0.4, std=0.5)
NORMALIZER = Normalizer((RAIN, HEAT, SNOW))

# Single-precision numbers as files hold them; 0.125 and not 0.1, because bounds must be representable.
wet = st.floats(0.125, 512, width=32)
dry = st.floats(0, 0.09375, width=32)
missing = st.just(float("nan"))


def grids(elements: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float32, (3, 1, 2, 5), elements=elements)


@given(
    grids(wet | st.just(0.0) | st.just(np.float32(0.1).item()) | missing),
    grids(st.floats(200, 350, width=32) | missing),
    grids(wet | st.just(0.0) | missing),
)
def test_denormalize_undoes_normalize_for_arrays_and_tensors(
    rain: np.ndarray, heat: np.ndarray, snow: np.ndarray
) -> None:
    values = np.concatenate([rain, heat, snow], axis=1)
    for form in (values, torch.from_numpy(values)):
        back = NORMALIZER.denormalize(NORMALIZER.normalize(form))
        assert type(back) is type(form)
        np.testing.assert_allclose(np.asarray(back)[:, :2], values[:, :2], rtol=2e-5)
        np.testing.assert_allclose(np.asarray(back)[:, 2], snow[:, 0], rtol=2e-5, atol=1e-9)  # near 0 powers are steep


@pytest.mark.parametrize("channel", [RAIN, SNOW])
@given(grids(wet | dry | missing))
def test_arrays_and_tensors_agree(channel: Standardization, values: np.ndarray) -> None:
    tensor = channel.normalize(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(tensor, channel.normalize(values), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channel", [RAIN, SNOW])
@given(grids(wet | dry | missing))
def test_missing_stays_missing_and_nothing_else_becomes_it(channel: Standardization, values: np.ndarray) -> None:
    normalized = channel.normalize(values)
    np.testing.assert_array_equal(np.isnan(normalized), np.isnan(values))
    np.testing.assert_array_equal(np.isnan(channel.denormalize(normalized)), np.isnan(values))


@given(grids(dry))
def test_rates_below_the_threshold_return_as_zero(values: np.ndarray) -> None:
    assert (RAIN.transform.forward(values) == -15.0).all()
    assert (RAIN.denormalize(RAIN.normalize(values)) == 0).all()


@given(wet, wet)
def test_more_rain_is_never_fewer_decibels(one: float, two: float) -> None:
    low, high = RAIN.transform.forward(np.sort(np.float32([one, two])))
    assert low <= high


def test_decibels_by_hand() -> None:
    transform = Decibel(threshold=0.1, floor=-15.0)
    np.testing.assert_allclose(transform.forward(np.array([0.0, 0.05, 0.1, 1.0, 100.0])), [-15, -15, -10, 0, 20])
    np.testing.assert_allclose(transform.inverse(np.array([-15.0, -10.5, -10.0, 0.0, 20.0])), [0, 0, 0.1, 1, 100])


def test_powers_by_hand() -> None:
    root = Power(0.5)
    np.testing.assert_allclose(root.forward(np.array([-4.0, 0.0, 0.25, 9.0])), [0, 0, 0.5, 3])
    np.testing.assert_allclose(root.inverse(np.array([-2.0, 0.0, 0.5, 3.0])), [0, 0, 0.25, 9])


def test_the_floor_is_dry_however_close_it_lies() -> None:
    transform = Decibel(threshold=1.0, floor=-1e-5)
    np.testing.assert_array_equal(transform.inverse(np.array([-1e-5, 0.0])), [0, 1])


def test_statistics_by_hand() -> None:
    values = np.array([[[1.0]], [[295.0]], [[1.0]]])  # 0 dB, 295 K and 1^0.7
    np.testing.assert_allclose(NORMALIZER.normalize(values).ravel(), [(0 + 9) / 6, 2.0, (1 - 0.4) / 0.5])


def test_gradients_pass_and_are_finite_where_it_is_dry() -> None:
    for channel, slopes in (
        (RAIN, [0, 0, 10 / (np.log(10) * 2.0 * 6.0)]),
        (SNOW, [0, 0.7 * 0.05**-0.3 / 0.5, 0.7 * 2.0**-0.3 / 0.5]),
    ):
        values = torch.tensor([0.0, 0.05, 2.0], requires_grad=True)
        channel.normalize(values).sum().backward()
        np.testing.assert_allclose(values.grad, slopes, rtol=1e-6)


def test_single_precision_stays_single_precision() -> None:
    values = np.ones((3, 3, 5), np.float32)
    assert NORMALIZER.normalize(values).dtype == np.float32
    assert NORMALIZER.denormalize(torch.from_numpy(values)).dtype == torch.float32


def test_a_normalizer_survives_json_in_the_order_of_its_channels(tmp_path: Path) -> None:
    path = tmp_path / "statistics.json"
    path.write_text(json.dumps({"variables": NORMALIZER.to_dict()}, sort_keys=True))
    assert Normalizer.load(path) == NORMALIZER
    assert Normalizer.load(path).variables == ("rain", "heat", "snow")


def test_a_missing_statistics_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"statistics\.json does not exist"):
        Normalizer.load(tmp_path / "statistics.json")


def test_an_unknown_transform_is_named() -> None:
    with pytest.raises(DataError, match=r"unknown transform 'cube'; known are \['decibel', 'identity', 'power'\]"):
        transform_from_dict({"kind": "cube"})


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.0), (1000.0, 1e-6), (np.nan, 1.0), (0.0, np.inf)])
def test_a_constant_or_missing_variable_is_named(mean: float, std: float) -> None:
    with pytest.raises(DataError, match="variable heat cannot be standardised"):
        Standardization("heat", Identity(), mean, std)


@pytest.mark.parametrize("method", ["normalize", "denormalize"])
def test_a_wrong_number_of_channels_is_named(method: Any) -> None:
    with pytest.raises(DataError, match="2 channels given, but 3 known"):
        getattr(NORMALIZER, method)(np.zeros((2, 5, 7)))
