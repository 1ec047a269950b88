import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from physicnet.fields import DataError, Field
from physicnet.model.sharp import Sharp, match


class Blurred:
    """Forecasts a third of the last frame, smoothed along the rows; NaN where the frame is NaN if asked to."""

    name = "blurred"

    def forecast(self, past: Field, num_leads: int) -> np.ndarray:
        last = np.nan_to_num(past.frames(past.shape[0] - 1, past.shape[0])[0])
        smooth = (last + np.roll(last, 1, axis=-1) + np.roll(last, 2, axis=-1)) / 9
        return np.repeat(smooth[None], num_leads, axis=0)


def field(values: np.ndarray) -> Field:
    times = np.datetime64("2020-01-01", "ns") + np.arange(len(values)) * np.timedelta64(5, "m")
    variables = {"rain": (("time", "y", "x"), values.astype(np.float32), {"units": "mm h-1"})}
    return Field(xr.Dataset(variables, coords={"time": times}))


def rain(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).gamma(0.3, 2.0, (2, 12, 15)).astype(np.float32)
    return np.where(values < 0.5, 0.0, values)


def test_the_forecast_has_the_values_of_the_last_frame_in_its_own_order() -> None:
    past = field(rain(0))
    mean, sharp = Blurred().forecast(past, 3), Sharp(Blurred()).forecast(past, 3)
    for lead in range(3):
        np.testing.assert_array_equal(np.sort(sharp[lead].ravel()), np.sort(past.frames(1, 2).ravel()))
        order = np.argsort(mean[lead].ravel(), kind="stable")
        before, after = mean[lead].ravel()[order], sharp[lead].ravel()[order]
        rises = np.diff(before) > 0
        assert (np.maximum.accumulate(after)[:-1][rises] <= after[1:][rises]).all()


def test_the_name_is_marked() -> None:
    assert Sharp(Blurred()).name == "blurred_sharp"


def test_a_frame_is_matched_to_itself() -> None:
    frame = rain(1)[0]
    np.testing.assert_array_equal(match(frame, frame), frame)


@given(st.integers(0, 50), st.floats(0.1, 0.9))
def test_missing_cells_take_no_part(seed: int, share: float) -> None:
    forecast, observed = rain(seed)
    missing = np.random.default_rng(seed).random(observed.shape) < share
    missing[0, 0] = False
    observed = np.where(missing, np.nan, observed)
    matched = match(forecast, observed)
    np.testing.assert_array_equal(np.sort(matched[~missing]), np.sort(observed[~missing]))
    assert np.isfinite(matched).all()
    assert matched[missing].max(initial=0) <= observed[~missing].max()


def test_cells_outside_follow_the_pairs_of_those_inside() -> None:
    forecast = np.float32([[1.0, 2.0, 3.0, 1.5, 9.0]])
    observed = np.float32([[10.0, 20.0, 40.0, np.nan, np.nan]])
    np.testing.assert_allclose(match(forecast, observed), [[10, 20, 40, 15, 40]])


def test_a_forecast_of_nan_stays_so_and_the_others_share_the_quantiles() -> None:
    forecast = np.float32([[1.0, np.nan, 3.0]])
    np.testing.assert_array_equal(match(forecast, np.float32([[5.0, 6.0, 7.0]])), np.float32([[5.0, np.nan, 7.0]]))


def test_of_equally_dry_cells_those_beside_rain_rain_first() -> None:
    forecast = np.zeros((20, 20), np.float32)
    forecast[10, 10] = 1.0
    observed = np.zeros((20, 20), np.float32)
    observed[0, :5] = [1.0, 2.0, 3.0, 4.0, 5.0]
    rows, columns = np.nonzero(match(forecast, observed))
    assert len(rows) == 5
    assert np.abs(rows - 10).max() <= 4
    assert np.abs(columns - 10).max() <= 4


def test_a_last_frame_without_observations_is_refused() -> None:
    values = rain(0)
    values[1] = np.nan
    with pytest.raises(DataError, match=r"nothing of rain was observed at 2020-01-01T00:05:00, the last frame"):
        Sharp(Blurred()).forecast(field(values), 2)
