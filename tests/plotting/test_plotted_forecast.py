from pathlib import Path

import numpy as np
import pytest
from plotting import drawn

from physicnet.fields import DataError
from physicnet.forecasting import cf
from physicnet.plotting.forecast import Forecast

RAIN = drawn.record("rate")
CURRENT = drawn.record("uo", "vo")


def test_variables_are_read_lead_by_lead(tmp_path: Path) -> None:
    read = Forecast.read(drawn.file(tmp_path, RAIN))
    assert read.minutes.tolist() == [5, 10, 15]
    assert read.field.variables == ("rate",)
    assert read.is_beyond == [False] * 3
    truth = RAIN.dataset["rate"].values[5:8]
    assert np.nanmax(np.abs(read.values("rate") - truth - drawn.TOO_MUCH)) < 1e-6


def test_what_belongs_to_a_variable_is_none_of_its_own(tmp_path: Path) -> None:
    frames = (drawn.DIMS, np.ones((3, 12, 14), np.float32), {"units": "1"})
    flags = ("time", np.array([0, 0, 1], np.int8))
    more = {"rate_sharp": frames, "gate": frames, "beyond_trained_leads": flags}
    read = Forecast.read(drawn.file(tmp_path, RAIN, **more, **drawn.chances(RAIN, "rate", 1.0)))
    assert read.field.variables == ("rate",)
    assert read.is_beyond == [False, False, True]
    sharp = read.sharp("rate")
    assert sharp is not None
    assert (sharp == 1).all()


def test_a_variant_without_its_variable_is_one(tmp_path: Path) -> None:
    read = Forecast.read(
        drawn.file(tmp_path, drawn.record("rate"), best_sharp=(drawn.DIMS, np.ones((3, 12, 14)), {"units": "K"}))
    )
    assert read.field.variables == ("rate", "best_sharp")
    assert read.sharp("rate") is None
    assert read.exceedance("rate") == []
    assert read.flow() is None


def test_leads_up_to_the_origin_are_left_out(tmp_path: Path) -> None:
    path = drawn.file(tmp_path, RAIN)
    late = cf.read(path)
    cf.write(
        path, late.assign_coords(forecast_reference_time=late["forecast_reference_time"].copy(data=late["time"][1]))
    )
    assert Forecast.read(path).minutes.tolist() == [5]
    cf.write(
        path, late.assign_coords(forecast_reference_time=late["forecast_reference_time"].copy(data=late["time"][2]))
    )
    with pytest.raises(DataError, match=r"forecast.nc has no lead after 2020-01-01T00:35:00, from which it starts"):
        Forecast.read(path)


def test_probabilities_are_in_percent_above_thresholds_as_shown(tmp_path: Path) -> None:
    found = Forecast.read(drawn.file(tmp_path, RAIN, **drawn.chances(RAIN, "rate", 0.5, 2.0))).exceedance("rate")
    assert [each.threshold for each in found] == [0.5, 2.0]
    assert all(np.allclose(each.percent, 20) for each in found)


def test_thresholds_may_lie_along_a_dimension_of_another_name(tmp_path: Path) -> None:
    more = {
        "rate_threshold": ("threshold", [1.0]),
        "rate_exceedance": (("threshold", *drawn.DIMS), np.full((1, 3, 12, 14), 35.0), {"units": "%"}),
    }
    (found,) = Forecast.read(drawn.file(tmp_path, RAIN, **more)).exceedance("rate")
    assert (found.threshold, found.percent.mean()) == (1.0, 35.0)


def test_probabilities_without_thresholds_are_refused(tmp_path: Path) -> None:
    more = drawn.chances(RAIN, "rate", 0.5)
    del more["rate_threshold"]
    read = Forecast.read(drawn.file(tmp_path, RAIN, **more))
    with pytest.raises(DataError, match=r"rate_exceedance has no thresholds, a coordinate rate_threshold of one"):
        read.exceedance("rate")


def test_what_is_not_on_the_grid_is_refused(tmp_path: Path) -> None:
    speeds = ("y", np.ones(12, np.float32), {"units": "1"})
    read = Forecast.read(drawn.file(tmp_path, RAIN, flow_x=speeds, flow_y=speeds))
    with pytest.raises(DataError, match=r"variable flow_x has the dimensions \('y',\), not \('y', 'x'\)"):
        read.flow()


@pytest.mark.parametrize(
    ("units", "turned", "expected"),
    [
        ("m s-1", (), (2.0, 1.0)),
        ("m s-1", ("y",), (2.0, 1.0)),  # north stays above
        ("m s-1", ("x",), (-2.0, 1.0)),  # columns are drawn in the file's order
        ("1", (), (2.0, 1.0)),
        ("1", ("y",), (2.0, -1.0)),  # towards later rows, which lie below
        ("1", ("x",), (2.0, 1.0)),
    ],
)
def test_a_motion_points_right_and_up_on_the_map(
    tmp_path: Path, units: str, turned: tuple[str, ...], expected: tuple[float, float]
) -> None:
    path = drawn.file(tmp_path, RAIN, **drawn.moving(RAIN, 2.0, 1.0, units))
    cf.write(path, cf.read(path).isel({dim: slice(None, None, -1) for dim in turned}))
    flow = Forecast.read(path).flow()
    assert flow is not None
    assert flow.units == ("cells per step" if units == "1" else units)
    assert flow.vectors[:, 3, 4].tolist() == list(expected)


def test_components_of_a_vector_are_found_by_standard_names(tmp_path: Path) -> None:
    assert Forecast.read(drawn.file(tmp_path, CURRENT)).pairs() == [("uo", "vo")]
    assert Forecast.read(drawn.file(tmp_path, drawn.record("uo", "t2m"))).pairs() == []


def test_components_are_found_by_their_names_where_nothing_else_tells(tmp_path: Path) -> None:
    path = drawn.file(tmp_path, CURRENT)
    bare = cf.read(path).rename(uo="u10", vo="v10")
    for name in ("u10", "v10"):
        del bare[name].attrs["standard_name"]
    cf.write(path, bare)
    assert Forecast.read(path).pairs() == [("u10", "v10")]
    bare["v10"].attrs["units"] = "km h-1"
    cf.write(path, bare)
    assert Forecast.read(path).pairs() == []


def test_rows_come_before_columns_whatever_their_order_in_the_file(tmp_path: Path) -> None:
    path = drawn.file(tmp_path, RAIN)
    turned = cf.read(path).transpose("time", "x", "y")
    cf.write(path, turned)
    assert Forecast.read(path).field.spatial_dims == ("y", "x")


def test_files_that_are_no_forecast_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"observed.nc is no forecast from one time"):
        Forecast.read(drawn.observe(tmp_path, RAIN).joinpath("record.nc").rename(tmp_path / "observed.nc"))
    path = drawn.file(tmp_path, RAIN)
    cf.write(path, cf.read(path).mean("x", keep_attrs=True))
    with pytest.raises(DataError, match=r"forecast.nc has no forecast to draw: none of rate is a floating point"):
        Forecast.read(path)
    with pytest.raises(DataError, match=r"nothing.nc does not exist"):
        Forecast.read(tmp_path / "nothing.nc")


def test_a_variable_without_units_is_named_with_its_file(tmp_path: Path) -> None:
    path = drawn.file(tmp_path, RAIN)
    bare = cf.read(path)
    del bare["rate"].attrs["units"]
    cf.write(path, bare)
    with pytest.raises(DataError, match=r"forecast.nc: variable rate has no attribute units; docs/data-formats.md"):
        Forecast.read(path)
