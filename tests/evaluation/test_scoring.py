from collections.abc import Callable

import cftime
import numpy as np
import pytest

from physicnet.config import ClipConfig, EvaluateConfig
from physicnet.evaluation.scoring import Case, Scoreboard, data_ranges, forecast_case
from physicnet.fields import DataError, Field
from physicnet.normalization import Normalizer, Standardization
from physicnet.transforms import Decibel

CLIP = ClipConfig(frames_in=2, frames_out=3)
CONFIG = EvaluateConfig(baselines=[], thresholds={"rain": [1.0]}, fss_scale=3, bootstrap_samples=9, seed=0)


class Constant:
    """Forecasts one value everywhere."""

    name = "constant"

    def __init__(self, value: float, leads: int | None = None) -> None:
        self.value, self.leads = value, leads

    def forecast(self, past: Field, num_leads: int) -> np.ndarray:
        return np.full((self.leads or num_leads, *past.shape[1:]), self.value, np.float32)


@pytest.fixture
def record(field_of: Callable[..., Field]) -> Field:
    values = np.arange(7.0)[:, None, None] * np.ones((4, 5))
    values[:, 0, 0] = np.nan
    return field_of(values)


def test_a_case_holds_the_frames_around_its_origin(record: Field) -> None:
    case = forecast_case([Constant(1)], record, 1, CLIP)
    assert case.origin == 2
    assert case.past.frames(0, 2)[:, 0, 1, 1].tolist() == [1, 2]
    assert case.truth[:, 0, 1, 1].tolist() == [3, 4, 5]
    assert (case.forecasts["constant"] == 1).all()


def test_a_forecast_without_numbers_where_the_truth_was_observed_is_refused_with_their_count(record: Field) -> None:
    message = r"constant from 2020-06-01T00:10.* is not a number in 57 cells .* rain at lead 1, row 0, column 1"
    with pytest.raises(DataError, match=message):
        forecast_case([Constant(np.nan)], record, 0, CLIP)


def test_a_forecast_of_another_shape_is_refused(record: Field) -> None:
    with pytest.raises(DataError, match=r"has the shape \(2, 1, 4, 5\), not \(3, 1, 4, 5\)"):
        forecast_case([Constant(1, leads=2)], record, 0, CLIP)


def test_a_forecast_may_say_nothing_where_nothing_was_observed(record: Field) -> None:
    class Oracle(Constant):
        def forecast(self, past: Field, num_leads: int) -> np.ndarray:
            return record.frames(2, 2 + num_leads) + 0 * past.frames(0, 1)

    case = forecast_case([Oracle(0)], record, 0, CLIP)
    assert np.isnan(case.forecasts["constant"][:, 0, 0, 0]).all()


def test_data_ranges_are_six_deviations_in_the_units_of_the_variable() -> None:
    channels = (
        Standardization("temperature", (), 280.0, 5.0),
        Standardization("rain", (Decibel(0.1, -15.0),), -10.0, 6.0),
    )
    # -10 + 18 dB is 10**0.8 mm/h, and -28 dB is no rain.
    assert data_ranges(Normalizer(channels)) == pytest.approx({"temperature": 30.0, "rain": 10**0.8})


def test_the_scoreboard_has_a_row_per_model_origin_and_lead_with_the_sums_of_its_frames(record: Field) -> None:
    board = Scoreboard(CONFIG, {"rain": 6.0})
    for start in (0, 2):
        board.add(forecast_case([Constant(1)], record, start, CLIP))
    sums = board.sums()
    assert sums["origin"].tolist() == [1, 1, 1, 3, 3, 3]
    assert sums["lead_minutes"].tolist() == [10, 20, 30] * 2
    assert sums["cells"].tolist() == [19] * 6
    # The truth is 2, 3, 4 and then 4, 5, 6 everywhere.
    assert sums["squared_error"].tolist() == [19 * error**2 for error in (1, 2, 3, 3, 4, 5)]
    assert sums["hits_1"].tolist() == [19] * 6
    assert set(sums["units"]) == {"mm h-1"}


def test_the_scoreboard_tells_times_of_other_calendars(record: Field) -> None:
    times = cftime.num2date(np.arange(7), "days since 2000-02-28", "360_day")
    scoreboard = Scoreboard(CONFIG, {"rain": 10.0})
    scoreboard.add(forecast_case([Constant(3)], Field(record.dataset.assign_coords(time=times)), 1, CLIP))
    assert set(scoreboard.sums()["time"]) == {"2000-02-30T00:00:00 (360_day)"}
    assert scoreboard.sums()["lead_minutes"].tolist() == [1440, 2880, 4320]


def test_spectra_are_means_over_the_origins_with_the_truth_beside_the_models(field_of: Callable[..., Field]) -> None:
    field = field_of(np.random.default_rng(0).random((5, 20, 24)))
    case = forecast_case([Constant(1)], field, 0, CLIP)
    same = Case(0, case.past, case.truth, {"same": case.truth})
    once, twice = Scoreboard(CONFIG, {"rain": 1.0}), Scoreboard(CONFIG, {"rain": 1.0})
    for board, times in ((once, 1), (twice, 2)):
        for _ in range(times):
            board.add(same)
    spectra = once.spectra()
    assert len(spectra) == 2 * 3 * 12
    truth, ours = (spectra.loc[spectra["model"] == name, "variance"].to_numpy() for name in ("truth", "same"))
    assert (truth == ours).all()
    assert twice.spectra()["variance"].to_numpy() == pytest.approx(spectra["variance"].to_numpy())
