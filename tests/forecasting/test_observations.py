from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from forecasting import samples
from training.conftest import INGEST

from physicnet.config import IngestConfig
from physicnet.fields import DataError, Field
from physicnet.forecasting.loading import Model


def test_files_may_come_in_any_order(tmp_path: Path, model: Model, file: Path) -> None:
    whole, spans = samples.record(), {"b": (0, 4), "a": (4, 6)}
    parts = [samples.write(tmp_path / f"{name}.nc", whole.isel(*span)) for name, span in spans.items()]
    np.testing.assert_array_equal(model.forecast(parts)["rate"], model.forecast(file)["rate"])


def test_a_file_may_be_named_by_text(model: Model, file: Path) -> None:
    expected = model.forecast(file)
    xr.testing.assert_equal(model.forecast(str(file)), expected)
    xr.testing.assert_equal(model.forecast([str(file)]), expected)


def test_units_are_converted(tmp_path: Path, model: Model, file: Path) -> None:
    dataset = samples.record().dataset
    in_metres = (dataset["rate"].astype(np.float64) / 3.6e6).assign_attrs(units="m s-1")
    forecast = model.forecast(dataset.assign(rate=in_metres))
    assert forecast["rate"].attrs["units"] == "mm h-1"
    np.testing.assert_allclose(forecast["rate"], model.forecast(file)["rate"], rtol=1e-4, atol=1e-4)


@pytest.fixture
def renaming(tmp_path: Path) -> Model:
    """A model whose files hold the variable as `group/RR`, in two levels and without units, at half its spacing."""
    variable = INGEST.variables[0].model_dump()
    own = {"name": "group/RR", "channel": "rate", "file_units": "mm h-1", "select": {"level": 2}, "valid_max": 5.0}
    config = IngestConfig.model_validate(
        INGEST.model_dump() | {"variables": [variable | own], "coarsen": 2, "max_invalid": 1.0}
    )
    return samples.model(samples.save(tmp_path / "renaming.safetensors", samples.record(), config))


def test_a_dataset_is_read_as_the_files_are(renaming: Model) -> None:
    coarse = samples.record().dataset
    fine = coarse["rate"].values.repeat(2, axis=1).repeat(2, axis=2)
    places = {dim: (np.arange(2 * coarse.sizes[dim]) - 0.5) * 500.0 for dim in ("y", "x")}
    dataset = xr.Dataset(
        {"RR": (("time", "level", "y", "x"), np.stack([np.zeros_like(fine), fine], axis=1))},
        {"time": coarse["time"], "level": [1, 2]} | {dim: (dim, at, {"units": "m"}) for dim, at in places.items()},
    )
    limited = Field(coarse.where(coarse["rate"] <= 5.0).assign(rate=coarse["rate"].where(coarse["rate"] <= 5.0)))
    forecast = renaming.forecast(dataset)
    np.testing.assert_allclose(forecast["rate"], renaming.forecast_field(limited, 2)["rate"], rtol=1e-6)
    np.testing.assert_array_equal(forecast["y"], coarse["y"])


def test_a_dataset_of_the_record_is_not_averaged_again(renaming: Model) -> None:
    limited = samples.record().dataset
    limited["rate"] = limited["rate"].clip(max=5.0)
    np.testing.assert_array_equal(
        renaming.forecast(limited)["rate"], renaming.forecast_field(Field(limited), 2)["rate"]
    )


def test_too_few_frames_are_refused_with_the_times_that_are_needed(tmp_path: Path, model: Model) -> None:
    path = samples.write(tmp_path / "short.nc", samples.record(2))
    needed = "2019-12-31T23:55:00, 2020-01-01T00:00:00, 2020-01-01T00:05:00"
    absent = "not there: rate at 2019-12-31T23:55:00; these files have 2 from"
    with pytest.raises(DataError, match=f"the model needs 3 frames, at {needed}; {absent}"):
        model.forecast(path)


def test_a_gap_is_refused_with_the_frame_that_is_not_there(model: Model) -> None:
    dataset = samples.record(8).dataset.isel(time=[0, 1, 2, 3, 4, 5, 7])
    with pytest.raises(DataError, match=r"at 2020-01-01T00:25:00, .*; not there: rate at 2020-01-01T00:30:00; these"):
        model.forecast(dataset)


def test_a_time_without_a_frame_is_refused(model: Model, file: Path) -> None:
    with pytest.raises(DataError, match=r"not there: rate at 2020-01-01T00:30:00; these files have 6 from .* to .*25"):
        model.forecast(file, at=samples.at(30))


@pytest.mark.parametrize("in_memory", [False, True])
def test_what_is_no_time_is_refused(model: Model, file: Path, in_memory: bool) -> None:
    observations = samples.record().dataset if in_memory else file
    with pytest.raises(DataError, match=r"'noon' is no time to forecast from .*write UTC as"):
        model.forecast(observations, at="noon")


def test_a_slower_clock_is_refused(model: Model) -> None:
    dataset = samples.record(10).dataset.isel(time=slice(None, None, 2))
    with pytest.raises(DataError, match="600 s apart, where the model knows steps of 300 s"):
        model.forecast(dataset)


def test_a_faster_clock_is_refused(model: Model) -> None:
    dataset = samples.record(8).dataset
    start = dataset["time"].values[0]
    fast = dataset.assign_coords(time=start + np.arange(8) * np.timedelta64(150, "s"))
    with pytest.raises(DataError, match="knows steps of 300 s, but there are frames between these, at .*00:12:30"):
        model.forecast(fast, at="2020-01-01T00:15:00")


def test_the_newest_frame_is_not_passed_over(tmp_path: Path, model: Model) -> None:
    whole = samples.record(6)
    paths = [samples.write(tmp_path / "a.nc", whole.isel(0, 5))]
    last = whole.isel(5, 6)
    last.dataset["rate"][:] = np.nan
    paths.append(samples.write(tmp_path / "b.nc", last))
    with pytest.raises(DataError, match=r"newest frame, of .*25:00, cannot be used: .*b.nc: .*no valid value of rate"):
        model.forecast(paths)
    assert model.forecast(paths, at=samples.at(20)).sizes["time"] == 2


def test_a_last_frame_without_a_value_is_refused(model: Model) -> None:
    dataset = samples.record().dataset
    dataset["rate"][-1] = np.nan
    with pytest.raises(DataError, match="nothing was observed at 2020-01-01T00:25:00, the last frame"):
        model.forecast(dataset)


def test_nothing_but_missing_values_is_refused(model: Model) -> None:
    dataset = samples.record().dataset
    dataset["rate"][:] = np.nan
    with pytest.raises(DataError, match=r"cannot be used: the dataset: the file has no valid value of rate"):
        model.forecast(dataset)


def test_an_unknown_variable_is_refused(model: Model) -> None:
    with pytest.raises(
        DataError, match=r"1 of 1 files cannot be used.*the dataset has no variable 'rate'; it has .'snow'."
    ):
        model.forecast(samples.record().dataset.rename(rate="snow"))


def test_a_file_that_cannot_be_read_is_not_passed_over(tmp_path: Path, model: Model, file: Path) -> None:
    (tmp_path / "broken.nc").write_text("<html>")
    with pytest.raises(DataError, match=r"1 of 2 files cannot be used; .*broken.nc: .*web page"):
        model.forecast([file, tmp_path / "broken.nc"])


def test_a_file_that_is_not_there_is_named(tmp_path: Path, model: Model) -> None:
    with pytest.raises(DataError, match=r"absent.nc does not exist; name files of observations"):
        model.forecast(tmp_path / "absent.nc")


def test_a_folder_is_refused(tmp_path: Path, model: Model) -> None:
    with pytest.raises(DataError, match=r"is a folder; name the files in it, such as .*/\*.nc"):
        model.forecast(tmp_path)


def test_another_spacing_is_refused(model: Model) -> None:
    dataset = samples.record().dataset
    wide = dataset.assign_coords(x=dataset["x"].copy(data=1.5 * dataset["x"]))
    with pytest.raises(DataError, match="of the columns: 1000 m there, 1500 m here; ask to regrid them .--regrid"):
        model.forecast(wide)


def test_files_of_different_grid_mappings_are_refused(tmp_path: Path, model: Model) -> None:
    whole = samples.record()
    other = {"crs": ((), np.int32(0), samples.STEREOGRAPHIC | {"standard_parallel": 70.0})}
    paths = [
        samples.write(tmp_path / "a.nc", whole.isel(0, 4)),
        samples.write(tmp_path / "b.nc", whole.isel(4, 6), **other),
    ]
    with pytest.raises(
        DataError, match=r"b.nc: its grid mapping crs has standard_parallel = 70.0, that of most frames 60"
    ):
        model.forecast(paths)


def test_another_grid_mapping_than_the_models_is_refused(model: Model) -> None:
    other = {"grid_mapping_name": "rotated_latitude_longitude"}
    dataset = samples.record().dataset.assign_coords(crs=((), np.int32(0), other))
    with pytest.raises(DataError, match=r"grid mapping: polar_stereographic there, rotated_latitude_longitude here"):
        model.forecast(dataset)


def test_what_no_file_can_hold_is_refused(model: Model) -> None:
    dataset = samples.record().dataset.assign_attrs(made={"by": "hand"})
    with pytest.raises(DataError, match="the dataset cannot be read as a NetCDF file can"):
        model.forecast(dataset)
