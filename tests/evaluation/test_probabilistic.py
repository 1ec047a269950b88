from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from physicnet.calibration import LEVELS, Calibration, fit, origins_of
from physicnet.config import ClipConfig, EvaluateConfig
from physicnet.evaluation import probabilistic
from physicnet.evaluation.probabilistic import (
    BINS,
    ProbabilityBoard,
    coverage,
    crps,
    rank_counts,
    reliability_sums,
)
from physicnet.evaluation.scoring import Case
from physicnet.fields import Field
from physicnet.normalization import Normalizer


def integrated(members: np.ndarray, truth: float) -> float:
    """The CRPS by its definition: the integral of the squared difference of both distribution functions."""
    line = np.linspace(-10.0, 10.0, 200_001)
    below = (members[:, None] <= line).mean(axis=0)
    return float(np.trapezoid((below - (truth <= line)) ** 2, line))


def test_crps_is_the_integral_that_defines_it() -> None:
    rng = np.random.default_rng(0)
    members, truth = np.sort(rng.normal(size=(7, 5)), axis=0), rng.normal(size=5)
    expected = [integrated(members[:, cell], truth[cell]) for cell in range(5)]
    np.testing.assert_allclose(crps(members, truth), expected, atol=2e-4)


def test_crps_of_many_quantiles_is_that_of_their_distribution() -> None:
    levels = (np.arange(2000) + 0.5) / 2000
    truth = np.array([0.0, 1.3])
    members = np.repeat(stats.norm.ppf(levels)[:, None], 2, axis=1)
    closed = truth * (2 * stats.norm.cdf(truth) - 1) + 2 * stats.norm.pdf(truth) - 1 / np.sqrt(np.pi)
    np.testing.assert_allclose(crps(members, truth), closed, atol=1e-3)


def test_crps_of_one_member_is_its_absolute_error() -> None:
    np.testing.assert_allclose(crps(np.array([[1.0, -2.0]]), np.array([3.0, -2.0])), [2.0, 0.0])


def test_ranks_by_hand() -> None:
    members = np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0], [3.0, 3.0, 5.0]])
    counts = rank_counts(members, np.array([2.5, 0.0, 0.0]))
    # Below the third member; below all; equal to two, so one of the ranks 1, 2 and 3.
    np.testing.assert_allclose(counts, [1 + 1 / 3, 1 / 3, 1 + 1 / 3, 0])


@pytest.mark.parametrize("dry", [0.0, 0.6])
def test_exchangeable_members_have_a_flat_histogram(dry: float) -> None:
    rng = np.random.default_rng(1)
    drawn = np.where(rng.random((20, 50_000)) < dry, 0.0, rng.gamma(0.7, 2.0, (20, 50_000)))
    members, truth = np.sort(drawn[1:], axis=0), drawn[0]
    counts = rank_counts(members, truth)
    assert counts.sum() == pytest.approx(50_000)
    np.testing.assert_allclose(counts / 50_000, 1 / 20, atol=0.004)
    for interval in (50, 80, 90):
        assert coverage(counts, interval) == pytest.approx(interval / 100, abs=0.01)


def test_members_that_are_too_much_alike_have_a_histogram_like_a_bowl() -> None:
    rng = np.random.default_rng(2)
    counts = rank_counts(np.sort(rng.normal(0, 0.5, (19, 20_000)), axis=0), rng.normal(0, 1, 20_000))
    assert counts[0] + counts[-1] > 0.3 * counts.sum()
    assert coverage(counts, 90) < 0.7


def test_coverage_needs_ranks_that_can_be_parted() -> None:
    with pytest.raises(AssertionError, match="90 % of 10 ranks are no whole ranks on both sides"):
        coverage(np.ones(10), 90)


def test_reliability_by_hand() -> None:
    cells, expected, events = reliability_sums(
        np.array([0.0, 0.05, 0.55, 0.51, 1.0], np.float32), np.array([False, True, True, False, True])
    )
    assert cells.tolist() == [2, 0, 0, 0, 0, 2, 0, 0, 0, 1]
    np.testing.assert_allclose(expected[[0, 5, 9]], [0.05, 1.06, 1.0], rtol=1e-6)
    assert events.tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 1]


CLIP = ClipConfig(frames_in=2, frames_out=2)


def persistence(past: Field, num_leads: int) -> np.ndarray:
    last = past.frames(past.shape[0] - 1, past.shape[0])
    return np.repeat(np.where(np.isnan(last), 0.0, last), num_leads, axis=0).astype(np.float32)


@pytest.fixture(scope="module")
def record(field_of: Callable[..., Field]) -> Field:
    """Rain that comes and goes at random about a pattern, the same in all frames; a corner is never observed."""
    rng = np.random.default_rng(3)
    pattern = rng.gamma(0.5, 3.0, (40, 45))
    values = np.where(rng.random((30, 40, 45)) < 0.4, 0.0, pattern * rng.uniform(0.5, 1.5, (30, 40, 45)))
    values[values < 0.1] = 0.0  # what decibels take for none
    values[:, :8, :9] = np.nan
    return field_of(values)


@pytest.fixture(scope="module")
def own(record: Field, normalizer: Normalizer) -> dict[str, Calibration]:
    return fit(persistence, record.isel, origins_of([[0, 15]], 2), CLIP, normalizer)


def config(*thresholds: float) -> EvaluateConfig:
    settings = {"baselines": ["persistence"], "fss_scale": 3, "bootstrap_samples": 200, "seed": 1}
    return EvaluateConfig.model_validate(settings | {"thresholds": {"rain": list(thresholds)}})


def board_of(record: Field, own: dict[str, Calibration], starts: range) -> ProbabilityBoard:
    board = ProbabilityBoard(config(0.5, 2.0))
    for start in starts:
        past = record.isel(start, start + 2)
        truth = record.frames(start + 2, start + 4)
        board.add(Case(start, past, truth, {"it": persistence(past, 2)}), {"it": own})
    return board


def test_the_tables_of_a_calibrated_forecast(record: Field, own: dict[str, Calibration]) -> None:
    board = board_of(record, own, range(15, 27))
    scores = board.scores()
    assert scores["lead"].tolist() == [1, 2]
    assert scores["lead_minutes"].tolist() == [10, 20]
    assert scores["cells"].tolist() == [12 * (40 * 45 - 72)] * 2
    for interval in (50, 80, 90):
        np.testing.assert_allclose(scores[f"coverage_{interval}"], interval / 100, atol=0.03)
        assert (scores[f"inside_{interval}"] >= scores[f"coverage_{interval}"] - 0.001).all()  # no rain is no rain
    assert (scores["width_50"] < scores["width_90"]).all()
    ranks = board.ranks()
    assert len(ranks) == 2 * 20
    np.testing.assert_allclose(ranks["share"], 0.05, atol=0.03)
    reliability = board.reliability()
    assert set(reliability["threshold"]) == {0.5, 2.0}
    assert reliability["bin"].between(1, BINS).all()
    for _, rows in reliability.groupby(["lead", "threshold"]):
        assert rows["cells"].sum() == scores["cells"][0]
        expected, happened = (np.average(rows[name], weights=rows["cells"]) for name in ("probability", "frequency"))
        assert happened == pytest.approx(expected, abs=0.02)
    named = list(probabilistic.means(board))
    assert [entry[:2] for entry in named] == [("it", "rain")]
    assert named[0][2]["crps"] == pytest.approx(scores["crps"].mean())


def test_coverage_lies_within_its_interval_which_one_origin_does_not_have(
    record: Field, own: dict[str, Calibration]
) -> None:
    scores, alone = board_of(record, own, range(15, 27)).scores(), board_of(record, own, range(20, 21)).scores()
    for interval in (50, 80, 90):
        share, low, high = (scores[f"coverage_{interval}{end}"] for end in ("", "_low", "_high"))
        assert ((low < share) & (share < high)).all()
        assert alone[[f"coverage_{interval}_low", f"coverage_{interval}_high"]].isna().all(axis=None)


def test_scores_are_those_of_the_cells(record: Field, own: dict[str, Calibration]) -> None:
    scores = board_of(record, own, range(20, 21)).scores()
    past, truth = record.isel(20, 22), record.frames(22, 24)[0, 0]
    known = np.isfinite(truth)
    frame, time = persistence(past, 1)[0, 0], past.times_after(1)
    quantiles = own["rain"].quantiles(1, frame, time, LEVELS)[:, known]
    assert scores["crps"][0] == pytest.approx(crps(quantiles, truth[known]).mean())
    low, high = quantiles[[0, -1]]
    assert scores["width_90"][0] == pytest.approx((high - low).mean(), rel=1e-5)
    assert scores["inside_90"][0] == pytest.approx(((low <= truth[known]) & (truth[known] <= high)).mean())
    chance = own["rain"].exceedance(1, frame, time, 2.0)[known]
    assert scores["brier_2"][0] == pytest.approx(((chance - (truth[known] >= 2.0)) ** 2).mean(), rel=1e-5)


def test_a_variable_without_thresholds_has_no_reliability(record: Field, own: dict[str, Calibration]) -> None:
    board = ProbabilityBoard(config())
    past = record.isel(3, 5)
    board.add(Case(3, past, record.frames(5, 7), {"it": persistence(past, 2)}), {"it": own})
    assert board.reliability().empty
    assert not [name for name in board.scores() if name.startswith("brier")]


def test_nothing_is_told_of_an_empty_board() -> None:
    assert list(probabilistic.means(ProbabilityBoard(config()))) == []
