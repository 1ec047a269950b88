import numpy as np
import pytest
from matplotlib.colors import LogNorm

from physicnet.evaluation.gallery import chart_of
from physicnet.fields import Field
from physicnet.normalization import Normalizer, Standardization

TRUTH = np.linspace(0, 10, 60).reshape(1, 6, 10)


def test_a_chart_reads_direction_and_width_from_the_coordinates(moving_blob: Field, normalizer: Normalizer) -> None:
    chart = chart_of(moving_blob, 0, TRUTH, normalizer)
    assert not chart.rows_ascend  # y falls from row to row
    assert chart.cell == 2.0  # km, from metres
    assert isinstance(chart.norm, LogNorm)
    assert chart.units == "mm h-1"


def test_a_chart_of_ascending_rows_in_other_units_has_no_scale_bar(moving_blob: Field) -> None:
    dataset = moving_blob.dataset.isel(y=slice(None, None, -1))
    dataset["x"].attrs["units"] = "degrees_east"
    chart = chart_of(Field(dataset), 0, TRUTH, Normalizer((Standardization("rain", (), 0.0, 1.0),)))
    assert chart.rows_ascend
    assert chart.cell is None
    assert not isinstance(chart.norm, LogNorm)


def test_cells_of_degrees_are_drawn_as_high_as_they_are(moving_blob: Field) -> None:
    height, width = moving_blob.shape[2:]
    dataset = moving_blob.dataset.assign_coords(
        y=("y", 60 + 0.5 * (np.arange(height) - (height - 1) / 2), {"units": "degrees_north"}),
        x=("x", 0.25 * np.arange(width), {"units": "degrees_east"}),
    )
    normalizer = Normalizer((Standardization("rain", (), 0.0, 1.0),))
    assert chart_of(Field(dataset), 0, TRUTH, normalizer).aspect == pytest.approx(0.5 / (0.25 * 0.5))
    assert chart_of(moving_blob, 0, TRUTH, normalizer).aspect == 1


def test_rows_without_coordinates_run_down(moving_blob: Field, normalizer: Normalizer) -> None:
    assert not chart_of(Field(moving_blob.dataset.drop_vars("y")), 0, TRUTH, normalizer).rows_ascend
