import numpy as np
import pytest
import xarray as xr
from samples import normalize_config

from physicnet.calendar import hour_of_day
from physicnet.cycles import harmonics
from physicnet.data import statistics
from physicnet.data.budget import Budget
from physicnet.data.statistics import fit, tiles_of
from physicnet.data.workers import Here
from physicnet.fields import DataError, Field
from physicnet.normalization import Standardization

PLENTY = Budget.within(2**40)
GENERATOR = np.random.default_rng(1)
DECIBEL = {"kind": "decibel", "threshold": 0.1, "floor": -15.0}


def anomaly(*, hour_of_day: bool = False, harmonics: int = 0) -> dict[str, object]:
    return {"kind": "anomaly", "hour_of_day": hour_of_day, "harmonics": harmonics}


def field_of(values: np.ndarray, hours: int, first: str = "2018-01-01") -> Field:
    times = np.datetime64(first, "ns") + np.arange(len(values)) * np.timedelta64(hours, "h")
    return Field(xr.Dataset({"rate": (("time", "y", "x"), values, {"units": "K"})}, {"time": times}))


def warm_record(num_frames: int = 800, hours: int = 25, missing: float = 0.3) -> Field:
    """Temperatures around 280 with a day, a year, a level of each cell, noise and holes; two years in steps of 25 h."""
    record = field_of(np.zeros((num_frames, 4, 5)), hours)
    values = 280 + GENERATOR.normal(0.0, 20.0, (4, 5)) + GENERATOR.normal(0.0, 1.0, (num_frames, 4, 5))
    values += 5 * np.sin(hour_of_day(record.times) / 24 * 2 * np.pi)[:, None, None]
    values += 8 * harmonics(record.times, 1)[:, :1, None]
    values[GENERATOR.random(values.shape) < missing] = np.nan
    values[:, 2, 3] = np.nan  # never observed
    return Field(record.dataset.assign(rate=record.dataset["rate"].copy(data=values)))


def fitted(
    field: Field,
    *steps: object,
    each: str = "global",
    segments: list[list[int]] | None = None,
    budget: Budget = PLENTY,
) -> Standardization:
    config = normalize_config(transforms={"rate": list(steps)}, standardize={"rate": each})
    fitted = fit(field, segments or [[0, field.shape[0]]], config, budget=budget, workers=Here())
    return fitted.channels[0]


def oracle(values: np.ndarray, times: np.ndarray, step: dict[str, object]) -> np.ndarray:
    """What one cell's cycles are at each time: least squares with a column for each hour and each harmonic."""
    columns = [harmonics(times, int(str(step["harmonics"])))]
    columns += [np.eye(24)[hour_of_day(times)]] if step["hour_of_day"] else [np.ones((len(times), 1))]
    design = np.concatenate(columns, axis=1)
    seen = ~np.isnan(values)
    return design @ np.linalg.lstsq(design[seen], values[seen], rcond=None)[0]


def test_mean_and_deviation_equal_one_line_of_numpy() -> None:
    field = warm_record()
    values = field.dataset["rate"].values[100:700]
    channel = fitted(field, segments=[[100, 300], [300, 700]])
    np.testing.assert_allclose([channel.mean, channel.std], [np.nanmean(values), np.nanstd(values)], rtol=1e-12)


def test_the_valid_range_of_the_record_is_taken_along() -> None:
    field = warm_record()
    assert (fitted(field).valid_min, fitted(field).valid_max) == (None, None)
    bounded = Field(field.dataset.assign(rate=field.dataset["rate"].assign_attrs(valid_min=200.0)))
    assert (fitted(bounded).valid_min, fitted(bounded).valid_max) == (200.0, None)


def test_they_are_those_of_the_transformed_values() -> None:
    values = np.where(GENERATOR.random((50, 4, 5)) < 0.2, np.nan, GENERATOR.gamma(1.0, 2.0, (50, 4, 5)))
    channel = fitted(field_of(values, 1), DECIBEL)
    decibels = np.where(np.isnan(values), np.nan, np.where(values < 0.1, -15, 10 * np.log10(np.maximum(values, 0.1))))
    np.testing.assert_allclose([channel.mean, channel.std], [np.nanmean(decibels), np.nanstd(decibels)], rtol=1e-12)


STEPS = [anomaly(hour_of_day=True), anomaly(harmonics=2), anomaly(hour_of_day=True, harmonics=2)]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("each", ["global", "per_cell"])
def test_cycles_and_what_they_leave_equal_a_naive_least_squares(step: dict[str, object], each: str) -> None:
    field = warm_record()
    values = field.dataset["rate"].values
    channel = fitted(field, step, each=each)
    assert channel.cycles is not None
    found = channel.cycles.at(field.times)
    left = np.full(values.shape, np.nan)
    for row, column in np.argwhere(~np.isnan(values).all(axis=0)):
        expected = oracle(values[:, row, column], field.times, step)
        np.testing.assert_allclose(found[:, row, column], expected, rtol=1e-6)
        left[:, row, column] = values[:, row, column] - expected
    if each == "global":
        np.testing.assert_allclose([channel.mean, channel.std], [0, np.nanstd(left)], rtol=1e-6, atol=1e-9)
    else:
        seen = ~np.isnan(left).all(axis=0)
        np.testing.assert_allclose(np.asarray(channel.std)[seen], np.nanstd(left[:, seen], axis=0), rtol=1e-6)
        np.testing.assert_allclose(channel.mean, 0, atol=1e-6)


def test_every_cell_has_its_own_mean_and_deviation() -> None:
    field = warm_record()
    values = field.dataset["rate"].values
    values[:, 2, 3] = values[:, 2, 2]
    channel = fitted(field, each="per_cell")
    np.testing.assert_allclose(channel.mean, np.nanmean(values, axis=0), rtol=1e-6)
    np.testing.assert_allclose(channel.std, np.nanstd(values, axis=0), rtol=1e-6)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Field:
    """A record in a store that has chunks of 2 x 3 cells: 2 x 2 tiles."""
    path = tmp_path_factory.mktemp("statistics") / "a.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("physicnet.fields.CHUNK_CELLS", 3)
        warm_record().save(path)
    return Field.open(path)


def test_tiles_are_the_chunks_of_the_store(stored: Field) -> None:
    tiles = list(tiles_of(stored))
    corners = [(tile.rows.start, tile.columns.start) for tile in tiles]
    assert corners == [(row, column) for row in (0, 2) for column in (0, 3)]
    assert (tiles[-1].rows, tiles[-1].columns) == (slice(2, 4), slice(3, 5))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("each", ["global", "per_cell"])
def test_neither_blocks_nor_tiles_change_the_result(
    step: dict[str, object], each: str, stored: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fitted(Field(stored.dataset.compute().drop_encoding()), step, each=each)
    monkeypatch.setattr(statistics, "SMALLEST", 8 * 6 * 37)
    parts = fitted(stored, step, each=each)
    assert parts.maps().keys() == whole.maps().keys()
    for name, array in whole.maps().items():
        np.testing.assert_allclose(parts.maps()[name], array, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose([parts.mean, parts.std], [whole.mean, whole.std], rtol=1e-6, atol=1e-6)


def test_every_chunk_is_read_once(stored: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "SMALLEST", 8 * 6 * 37)
    seen = np.zeros(stored.dataset["rate"].shape, int)

    def check(_: str, __: object, values: np.ndarray, times: np.ndarray, *, corner: tuple[int, int]) -> None:
        first, (row, column) = int(np.flatnonzero(stored.times == times[0])[0]), corner
        seen[first : first + len(values), row : row + values.shape[1], column : column + values.shape[2]] += 1

    monkeypatch.setattr(statistics, "check_domain", check)
    fitted(stored, segments=[[100, 300], [300, 700]])
    assert (seen[100:700] == 1).all()
    assert (seen[:100] == 0).all()
    assert (seen[700:] == 0).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_how_many_tiles_go_at_once_changes_no_bit(threads: int, stored: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    step = anomaly(hour_of_day=True, harmonics=2)
    whole = fitted(stored, step, each="per_cell")
    monkeypatch.setattr(Budget, "threads_for", lambda *_: threads)
    again = fitted(stored, step, each="per_cell")
    for name, array in whole.maps().items():
        np.testing.assert_array_equal(again.maps()[name], array)


def test_a_budget_too_small_for_the_sums_of_a_tile_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"the normalisation of rate takes 112 MiB, .* leaves 1 MiB; raise it by 112 MiB"
    ):
        fitted(warm_record(), budget=Budget(1, 1, 2**20))


def test_a_cell_that_was_never_observed_has_what_its_nearest_neighbour_has() -> None:
    field = warm_record()
    channel = fitted(field, anomaly(hour_of_day=True), each="per_cell")
    for array in channel.maps().values():
        assert any(
            (array[..., 2, 3] == array[..., row, column]).all() for row, column in ((1, 3), (3, 3), (2, 2), (2, 4))
        )


def test_an_hour_in_which_a_cell_was_never_observed_has_the_mean_of_its_others() -> None:
    field = warm_record(missing=0.0)
    noon = hour_of_day(field.times) == 12
    field.dataset["rate"][noon, 1, 1] = np.nan
    channel = fitted(field, anomaly(hour_of_day=True))
    assert channel.cycles is not None
    others = np.delete(channel.cycles.hourly[:, 1, 1], 12)
    assert channel.cycles.hourly[12, 1, 1] == pytest.approx(others.mean(), rel=1e-6)


def test_a_cell_that_a_month_lacks_has_the_year_of_its_nearest_neighbour() -> None:
    field = warm_record(missing=0.0)
    summer = np.isin(field.times.astype("datetime64[M]").astype(int) % 12, [5, 6, 7])
    field.dataset["rate"][~summer, 0, 0] = np.nan
    channel = fitted(field, anomaly(harmonics=2))
    assert channel.cycles is not None
    yearly = channel.cycles.yearly
    assert any((yearly[:, 0, 0] == neighbour).all() for neighbour in (yearly[:, 0, 1], yearly[:, 1, 0]))


def test_a_cell_of_too_few_values_for_its_harmonics_has_a_finite_cycle() -> None:
    field = warm_record(missing=0.0)
    months = field.times.astype("datetime64[M]")
    first = np.unique(months, return_index=True)[1][:12]  # one value a month, in hours of their own
    field.dataset["rate"][np.delete(np.arange(800), first), 0, 0] = np.nan
    channel = fitted(field, anomaly(hour_of_day=True, harmonics=6))
    assert channel.cycles is not None
    assert abs(channel.cycles.at(field.times)[:, 0, 0] - np.nanmean(field.dataset["rate"][:, 0, 0])).max() < 60


def test_a_cell_that_hardly_varies_counts_as_a_tenth_of_the_others() -> None:
    values = GENERATOR.normal(0.0, 2.0, (500, 4, 5))
    values[:, 0, 0] = 3.0
    channel = fitted(field_of(values, 1), each="per_cell")
    typical = np.sqrt(values.var(axis=0).mean())
    assert np.asarray(channel.std)[0, 0] == pytest.approx(0.1 * typical, rel=1e-6)
    assert np.asarray(channel.std)[1, 1] == pytest.approx(values[:, 1, 1].std(), rel=1e-6)


def test_hours_that_no_frame_has_stay_unknown() -> None:
    field = field_of(GENERATOR.normal(0.0, 1.0, (80, 4, 5)), 3)
    channel = fitted(field, anomaly(hour_of_day=True))
    assert channel.cycles is not None
    assert np.flatnonzero(channel.cycles.known).tolist() == list(range(0, 24, 3))


def test_too_few_days_for_hours_are_refused() -> None:
    field = field_of(np.zeros((24 * 5 - 1, 4, 5)), 1)
    with pytest.raises(DataError, match="rate: the training part has the hour 23 UTC on 4 days, .* needs 5"):
        fitted(field, anomaly(hour_of_day=True))


def test_months_that_training_lacks_are_refused() -> None:
    field = field_of(np.zeros((300, 4, 5)), 24)  # to 27 October
    with pytest.raises(DataError, match=r"rate: the training part has no frame in the months \[11, 12\].*harmonics: 0"):
        fitted(field, anomaly(harmonics=1))


@pytest.mark.parametrize(
    ("step", "where"), [((), "observed in the"), ((anomaly(harmonics=1),), "in all twelve months")]
)
def test_a_variable_without_a_known_cell_is_refused(step: tuple[object, ...], where: str) -> None:
    field = field_of(np.full((400, 4, 5), np.nan), 24)
    with pytest.raises(DataError, match=f"variable rate: no cell was observed.*{where.split()[-1]}"):
        fitted(field, *step)
