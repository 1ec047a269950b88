from collections.abc import Callable

import numpy as np
import pytest

from physicnet.config import EvaluateConfig
from physicnet.evaluation.scoring import Case
from physicnet.evaluation.vocabulary import AROUND, CodeStatistics, carried_back, cell_means, patches_around
from physicnet.fields import Field
from physicnet.normalization import Normalizer, Standardization

CONFIG = EvaluateConfig(baselines=[], thresholds={"rain": []}, fss_scale=3, bootstrap_samples=50, seed=0)
PLAIN = Normalizer((Standardization("rain", (), 2.0, 4.0),))
CODES = np.array([[0, 0, 0], [5, 5, 5]])  # of coarse cells of 2 x 2


def case(field_of: Callable[..., Field], last: np.ndarray, truth: np.ndarray, start: int = 0) -> Case:
    return Case(start, field_of(np.stack([last, last])), truth[:, None].astype(np.float32), {})


def still(shape: tuple[int, int]) -> dict[str, np.ndarray]:
    return {"codes": CODES, "flow": np.zeros((2, *shape))}


def frame(above: float, below: float) -> np.ndarray:
    """A frame of 4 x 6 cells: the upper half has code 0, the lower half code 5."""
    return np.repeat([above, above, below, below], 6).reshape(4, 6)


def test_shares_amounts_and_changes_by_hand(field_of: Callable[..., Field]) -> None:
    codes = CodeStatistics.of(PLAIN, {"rain": "mm h-1"})
    truth = np.stack([frame(9, 9), frame(1, 5), frame(9, 9), frame(9, 9)])  # half of four leads is the second
    codes.add(case(field_of, frame(2, 3), truth), still((4, 6)))
    codes.add(case(field_of, frame(4, np.nan), truth, start=1), still((4, 6)))
    table = codes.table(CONFIG)
    assert table["code"].tolist() == [0, 5]
    assert table["cells"].tolist() == [6, 3]
    assert table["share"].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert table["value"].tolist() == [3, 3]
    assert table["change"].tolist() == [-2, 2]
    assert table["lead"].unique().tolist() == [2]
    assert table["change_low"][0] == -3  # only the second origin drawn
    assert table["change_high"][0] == -1


def test_what_merely_moves_neither_grows_nor_decays(field_of: Callable[..., Field]) -> None:
    last = np.random.default_rng(0).random((8, 24))
    codes = CodeStatistics.of(PLAIN, {"rain": "mm h-1"})
    moved = np.stack([np.roll(last, 3 * step, axis=1) for step in (1, 2)])
    flow = np.zeros((2, 8, 24))
    flow[0] = 3.0
    codes.add(case(field_of, last, moved), {"codes": np.arange(48).reshape(4, 12), "flow": flow})
    table = codes.table(CONFIG).dropna(subset="change")
    assert len(table) == 4 * 10  # beyond the right edge nothing is known
    assert table["change"].to_numpy() == pytest.approx(0, abs=1e-6)


def test_a_variable_whose_places_differ_is_shown_as_deviations(field_of: Callable[..., Field]) -> None:
    mean = frame(2, 20).astype(np.float32)
    normalizer = Normalizer((Standardization("rain", (), mean, np.full_like(mean, 4.0)),))
    codes = CodeStatistics.of(normalizer, {"rain": "K"})
    codes.add(case(field_of, frame(6, 24), np.stack([frame(10, 20)] * 2)), still((4, 6)))
    table = codes.table(CONFIG)
    assert table["units"].tolist() == ["standard deviations"] * 2
    assert table["value"].tolist() == pytest.approx([1, 1])
    assert table["change"].tolist() == pytest.approx([1, -1])


def test_a_single_origin_has_no_interval(field_of: Callable[..., Field]) -> None:
    codes = CodeStatistics.of(PLAIN, {"rain": "mm h-1"})
    codes.add(case(field_of, frame(2, 3), np.stack([frame(1, 1)] * 2)), still((4, 6)))
    assert codes.table(CONFIG)[["change_low", "change_high"]].isna().all(axis=None)


def test_the_mean_patch_of_a_code_is_that_of_its_cells(field_of: Callable[..., Field]) -> None:
    codes = CodeStatistics.of(PLAIN, {"rain": "mm h-1"})
    for above in (1.0, 3.0):
        codes.add(case(field_of, frame(above, 8), np.stack([frame(0, 0)] * 2)), still((4, 6)))
    patch = codes.means()[0]
    assert patch.shape == (2 * AROUND, 2 * AROUND)
    assert np.isnan(patch[:2]).all()  # beyond the frame
    assert (patch[2:4] == 2).all()  # the mean of both origins
    assert (patch[4:] == 8).all()


def test_cell_means_need_half_of_a_cell() -> None:
    values = np.array([[1.0, 3, np.nan, np.nan], [5, np.nan, 7, np.nan]])
    assert cell_means(values, (1, 2))[0, 0] == 3
    assert np.isnan(cell_means(values, (1, 2))[0, 1])


def test_cell_means_of_uneven_cells_equal_the_naive_ones() -> None:
    values = np.random.default_rng(1).random((7, 11))
    rows, columns = np.arange(7) * 3 // 7, np.arange(11) * 4 // 11
    expected = [[values[rows == i][:, columns == j].mean() for j in range(4)] for i in range(3)]
    assert cell_means(values, (3, 4)) == pytest.approx(np.array(expected))


def test_patches_lie_around_their_cells() -> None:
    values = np.arange(8 * 12).reshape(8, 12).astype(float)
    patches = patches_around(values, (4, 6))
    assert (patches[1, 2] == values[0:6, 2:8]).all()  # the cell is rows 2-3 and columns 4-5


def test_a_whole_pixel_displacement_is_undone() -> None:
    values = np.random.default_rng(2).random((5, 7))
    displacement = np.zeros((2, 5, 7))
    displacement[0], displacement[1] = 2.0, -1.0
    back = carried_back(values, displacement)
    assert back[1:, :5] == pytest.approx(values[:-1, 2:])
    assert np.isnan(back[0]).all()
    assert np.isnan(back[:, 5:]).all()
