import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from samples import ingest_config, variable

from physicnet.config import VariableConfig
from physicnet.data.budget import Budget
from physicnet.data.reading import blocks, outside, read, settings_of, spans


@given(chunks=st.lists(st.integers(1, 9), min_size=1, max_size=12), largest=st.integers(1, 30))
def test_spans_cover_all_and_join_no_more_than_may_be(chunks: list[int], largest: int) -> None:
    found = spans(tuple(chunks), largest)
    assert [index for span in found for index in range(span.start, span.stop)] == list(range(sum(chunks)))
    assert all(span.stop - span.start <= max(largest, *chunks) for span in found)
    bounds = {0, *np.cumsum(chunks).tolist()}
    assert {span.stop for span in found} <= bounds


def test_blocks_stay_within_the_budget_and_cover_the_array() -> None:
    array = xr.DataArray(np.zeros((7, 6, 9)), dims=("t", "y", "x")).chunk({"t": 2, "y": 2})
    seen = np.zeros((7, 6), int)
    for frames, bands in blocks(array, Budget(8 * 9 * 2 * 4, 1, 0)):
        for rows in bands:
            seen[frames, rows] += 1
            assert 8 * 9 * (frames.stop - frames.start) * (rows.stop - rows.start) <= 8 * 9 * 2 * 4
    assert (seen == 1).all()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(None, None, [0, 0, 0, 0, 1, 1]), (0.0, None, [1, 0, 0, 0, 1, 1]), (None, 1.0, [0, 0, 1, 0, 1, 1])],
)
def test_invalid_is_what_is_infinite_or_outside(low: float | None, high: float | None, expected: list[int]) -> None:
    values = np.array([-1, 1, 2, np.nan, np.inf, -np.inf])
    settings = VariableConfig.model_validate(variable("rate", "K", valid_min=low, valid_max=high))
    np.testing.assert_array_equal(outside(values, settings), np.array(expected, bool))


def test_what_is_invalid_is_read_as_missing() -> None:
    array = xr.DataArray(np.arange(24.0).reshape(2, 3, 4), dims=("t", "y", "x"))
    settings = VariableConfig.model_validate(variable("rate", "K", valid_max=20.0))
    block, invalid = read(array, slice(1, 2), slice(1, 3), settings, Budget(1000, 1, 0))
    np.testing.assert_array_equal(block, [[[16, 17, 18, 19], [20, np.nan, np.nan, np.nan]]])
    assert invalid.sum() == 3


def test_settings_are_found_by_name() -> None:
    config = ingest_config(variables=[variable("rate", "K"), variable("air", "K")])
    assert settings_of(config, "air").name == "air"
