from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from samples import variable

from physicnet.config import VariableConfig
from physicnet.data.units import conversion, understood
from physicnet.fields import DataError

FILE = Path("odd.nc")


def converted(attributes: dict[str, Any], units: str, file_units: str | None = None) -> float:
    """Convert the number 10."""
    config = VariableConfig.model_validate(variable(units=units, file_units=file_units))
    way = conversion(FILE, xr.DataArray(0.0, attrs=attributes), config)
    return 10.0 if way is None else float(way[0].convert(np.float64(10.0), way[1]))


@pytest.mark.parametrize(
    ("found", "asked", "expected"),
    [
        ("mm h-1", "mm/h", 10.0),
        ("m**2 s**-2", "m2 s-2", 10.0),
        ("percent", "1", 0.1),
        ("degC", "K", 283.15),
        ("mm/hour", "m s-1", 10 / 3.6e6),
        (1, "1", 10.0),
    ],
)
def test_units_are_converted_into_those_asked_for(found: object, asked: str, expected: float) -> None:
    assert converted({"units": found}, asked) == pytest.approx(expected)


@pytest.mark.parametrize("attributes", [{}, {"Unit": "m/s"}, {"units": "metres per sec?"}, {"units": ""}])
def test_units_that_are_absent_or_misspelt_are_read_if_the_parameters_say_what_they_are(
    attributes: dict[str, str],
) -> None:
    assert converted(attributes, "km h-1", "m s-1") == pytest.approx(36.0)
    with pytest.raises(DataError, match=r"odd\.nc: variable rate .*write them as its file_units in ingest\.variables"):
        converted(attributes, "km h-1")


def test_a_factor_is_part_of_units() -> None:
    assert converted({}, "mm", "0.01 mm") == pytest.approx(0.1)


def test_units_that_agree_with_the_parameters_are_fine() -> None:
    assert converted({"units": "m/s"}, "m s-1", "m s**-1") == 10.0


def test_units_that_contradict_the_parameters_are_named() -> None:
    with pytest.raises(
        DataError, match=r"odd\.nc: .* has units 'K', but ingest\.variables says .* 'degC'; take file_u"
    ):
        converted({"units": "K"}, "K", "degC")


def test_units_that_cannot_be_converted_are_named() -> None:
    with pytest.raises(
        DataError, match=r"odd\.nc: variable rate has units 'kg m-2', which cannot be converted to 'mm'"
    ):
        converted({"units": "kg m-2"}, "mm")


def test_a_misspelt_attribute_is_shown() -> None:
    with pytest.raises(DataError, match=r"variable rate has no attribute units, but Unit = 'mm/h'; if you know them"):
        converted({"Unit": "mm/h"}, "mm h-1")


def test_units_that_cannot_be_understood_are_named() -> None:
    with pytest.raises(DataError, match=r"variable rate has units 'furlong\?', which cannot be understood; if you"):
        converted({"units": "furlong?"}, "m")


def test_units_asked_for_that_cannot_be_understood_are_named() -> None:
    with pytest.raises(DataError, match=r"ingest\.variables: rate is asked for in 'furlong\?', which cannot be under"):
        converted({"units": "m"}, "furlong?")


def test_stated_units_that_cannot_be_understood_are_named() -> None:
    with pytest.raises(DataError, match=r"ingest\.variables: file_units of rate, 'furlong\?', cannot be understood"):
        converted({}, "m", "furlong?")


@pytest.mark.parametrize("text", ["", "unknown", "no_unit", "none at all"])
def test_words_for_no_units_are_none(text: str) -> None:
    assert understood(text) is None
