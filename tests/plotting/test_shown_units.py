import numpy as np
import pytest
import xarray as xr

from physicnet.plotting.units import Shown, written


def shown(units: str, name: str = "value", **attributes: str) -> Shown:
    return Shown.of(xr.DataArray(np.zeros(1), name=name, attrs={"units": units, **attributes}))


@pytest.mark.parametrize(
    ("units", "standard_name", "value", "millimetres"),
    [
        ("mm h-1", "", 1.5, 1.5),
        ("mm/day", "lwe_precipitation_rate", 24.0, 1.0),
        ("m s-1", "rainfall_rate", 1e-6, 3.6),
        ("kg m-2 s-1", "precipitation_flux", 0.001, 3.6),
    ],
)
def test_rates_of_rain_are_shown_in_millimetres_an_hour(
    units: str, standard_name: str, value: float, millimetres: float
) -> None:
    rain = shown(units, standard_name=standard_name)
    assert rain.is_rain
    assert rain.written == "mm h⁻¹"
    assert rain.converted(np.array([value])) == pytest.approx([millimetres], rel=1e-4)


@pytest.mark.parametrize("units", ["m s-1", "K", "1", "no units at all"])
def test_all_else_is_shown_as_it_is(units: str) -> None:
    other = shown(units, standard_name="eastward_wind")
    assert not other.is_rain
    assert other.units == units
    assert other.converted(np.array([2.5])).tolist() == [2.5]


def test_kinds_are_read_from_units_and_words() -> None:
    assert shown("K").is_temperature
    assert shown("degC").is_temperature
    assert not shown("m").is_temperature
    assert shown("K", standard_name="air_temperature_anomaly").is_anomaly
    assert shown("hPa", name="slp_anomaly").is_anomaly
    assert not shown("K", standard_name="air_temperature").is_anomaly


def test_a_variable_is_called_by_the_best_words_that_there_are() -> None:
    assert shown("K", name="t2m").title == "t2m"
    assert shown("K", name="t2m", standard_name="air_temperature").title == "air temperature"
    assert (
        shown("K", name="t2m", standard_name="air_temperature", long_name="2 m temperature").title == "2 m temperature"
    )


@pytest.mark.parametrize(
    ("standard_name", "title"),
    [
        ("eastward_sea_water_velocity", "sea water speed"),
        ("grid_eastward_wind", "wind speed"),
        ("x_wind", "wind speed"),
        ("", "speed"),
    ],
)
def test_a_speed_is_called_by_what_moves(standard_name: str, title: str) -> None:
    component = xr.DataArray(np.zeros(1), name="u", attrs={"units": "m s-1", "standard_name": standard_name})
    speed = Shown.of(component).of_speed(component)
    assert (speed.title, speed.written) == (title, "m s⁻¹")


def test_units_are_written_as_people_do() -> None:
    assert [written(units) for units in ("degC", "kg m-2 s-1", "1", "K")] == ["°C", "kg m⁻² s⁻¹", "", "K"]
