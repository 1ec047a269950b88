"""The rule on tables of sums whose scores are known: every squared error of a model is a multiple of the usual one."""

from io import StringIO
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from tested import TIMES, origins_table, second_variable

from physicnet.config import EvaluateConfig, PromoteConfig
from physicnet.evaluation.promotion import POOLED, TOGETHER, Decision, decide, worst_of
from physicnet.evaluation.promotion_table import print_decision
from physicnet.evaluation.scored import ScoredRun
from physicnet.fields import DataError

CONFIG = EvaluateConfig(baselines=[], thresholds={"rain": [1.0]}, fss_scale=3, bootstrap_samples=200, seed=0)
RULE = PromoteConfig(metric="rmse", leads=None, minimum_gain=0.05, worst_lead=0.02, must_beat=["persistence"])


def run(origins: pd.DataFrame) -> ScoredRun:
    return ScoredRun("A", "the model", "", {}, origins)


def scaled(factor: float, **where: Any) -> pd.DataFrame:
    """The usual table, with the model's squared errors times `factor` in some rows."""
    table = origins_table()
    chosen = table["model"] == "physicnet"
    for column, value in where.items():
        chosen &= table[column] == value
    table.loc[chosen, "squared_error"] *= factor
    return table


def decided(challenger: pd.DataFrame, champion: pd.DataFrame | None = None, **changes: Any) -> Decision:
    rule = RULE.model_copy(update=changes)
    return decide(run(challenger), None if champion is None else run(champion), rule, CONFIG)


def unmet(decision: Decision) -> list[str]:
    return [check.text for check in decision.checks if not check.is_met]


def test_a_gain_beyond_chance_promotes() -> None:
    decision = decided(scaled(0.81), scaled(1.0))
    assert decision.is_promoted
    assert decision.gain == 0.1
    assert "RMSE over all leads is 10.00% lower than the champion's; at least 5.00% lower" in decision.checks[0].text


def test_the_same_errors_do_not_promote() -> None:
    decision = decided(scaled(1.0), scaled(1.0))
    assert decision.gain == 0
    assert [text[:4] for text in unmet(decision)] == ["RMSE", "The "]


def test_a_gain_below_what_is_asked_for_does_not_promote() -> None:
    decision = decided(scaled(0.95**2 + 0.002), scaled(1.0))
    assert [text.split(";")[1] for text in unmet(decision)] == [" at least 5.00% lower is asked for."]
    assert decided(scaled(0.95**2), scaled(1.0)).is_promoted


def test_a_gain_that_may_be_chance_does_not_promote() -> None:
    """One origin is much better, the three others a little worse."""
    challenger = scaled(1.05)
    best = (challenger["model"] == "physicnet") & (challenger["time"] == TIMES[0])
    challenger.loc[best, "squared_error"] *= 0.1
    decision = decided(challenger, scaled(1.0), worst_lead=1.0)
    assert decision.gain is not None
    assert decision.gain > 0.05
    assert [text.split(" is ")[0] for text in unmet(decision)] == ["The 95% interval of that ratio"]


def test_one_lead_that_is_worse_forbids() -> None:
    challenger = scaled(0.5)
    first = (challenger["model"] == "physicnet") & (challenger["lead"] == 1)
    challenger.loc[first, "squared_error"] *= 2 * 1.05**2
    decision = decided(challenger, scaled(1.0))
    message = "At the worst lead, 5 min (rain), it is 5.00% higher than the champion's; up to 2.00% higher is allowed."
    assert unmet(decision) == [message]
    assert decided(challenger, scaled(1.0), worst_lead=0.05).is_promoted


def test_leads_that_do_not_count_are_not_looked_at() -> None:
    decision = decided(scaled(9.0, lead=1), scaled(1.0, lead=1), leads=[2, 3], minimum_gain=0.0)
    assert set(decision.ratios["lead"]) == {POOLED, 2, 3}
    assert [text[:12] for text in unmet(decision)] == ["The 95% inte"]
    assert "over the leads 2, 3" in decision.checks[0].text


def test_a_baseline_that_is_better_at_one_lead_forbids() -> None:
    """The model's squared error is half of persistence's, but at the last lead."""
    decision = decided(scaled(2.2, lead=3), scaled(9.0))
    assert decision.gain is not None
    assert decision.gain > 0.4
    message = (
        "At the worst lead, 15 min (rain), RMSE is 4.88% higher than that of persistence; it must be lower at every"
    )
    assert [text[: len(message)] for text in unmet(decision)] == [message]


def test_a_baseline_that_need_not_be_beaten_is_shown_alone() -> None:
    decision = decided(scaled(1.7), scaled(9.0))
    advection = decision.ratios[(decision.ratios["against"] == "advection") & (decision.ratios["lead"] == POOLED)]
    assert advection["value"].item() == pytest.approx(np.sqrt(0.85 / 0.8), abs=1e-4)
    assert decision.is_promoted


def test_the_first_model_need_only_beat_the_baselines() -> None:
    assert decided(scaled(1.0)).is_promoted
    assert decided(scaled(1.0)).gain is None
    assert not decided(scaled(2.2)).is_promoted


def test_the_other_metric_decides_where_it_is_asked_for() -> None:
    challenger = origins_table()
    challenger.loc[challenger["model"] == "physicnet", "absolute_error"] *= 0.8
    assert decided(challenger, origins_table(), metric="mae").gain == 0.2
    assert decided(challenger, origins_table()).gain == 0


def test_errors_are_pooled_over_origins_and_leads_before_they_are_compared() -> None:
    challenger = scaled(0.25, lead=1)
    sums = {
        name: table[table["model"] == "physicnet"]["squared_error"].sum()
        for name, table in (("ours", challenger), ("theirs", scaled(1.0)))
    }
    gain = decided(challenger, scaled(1.0)).gain
    assert gain == pytest.approx(1 - np.sqrt(sums["ours"] / sums["theirs"]), abs=1e-4)


def test_a_single_origin_proves_nothing() -> None:
    decision = decided(origins_table(0.25, times=TIMES[:1]), origins_table(times=TIMES[:1]))
    assert unmet(decision) == ["There is no interval, for too few forecast origins: it may be chance."]


def test_frames_may_be_counted_from_elsewhere() -> None:
    assert decided(scaled(0.81), origins_table(first=70)).gain == 0.1


def test_several_variables_count_by_their_geometric_mean() -> None:
    challenger = second_variable(origins_table())
    model, wind = challenger["model"] == "physicnet", challenger["variable"] == "wind"
    challenger.loc[model & wind, "squared_error"] *= 0.25
    decision = decided(challenger, second_variable(origins_table()))
    pooled = decision.ratios[(decision.ratios["against"] == "champion") & (decision.ratios["lead"] == POOLED)]
    values = dict(zip(pooled["variable"], pooled["value"], strict=True))
    assert values == {"rain": 1.0, "wind": 0.5, TOGETHER: pytest.approx(np.sqrt(0.5), abs=1e-4)}
    assert decision.gain == pytest.approx(1 - np.sqrt(0.5), abs=1e-4)
    assert decision.is_promoted


def test_a_decision_that_is_repeated_is_the_same() -> None:
    one, other = (decided(scaled(0.9, lead=2), scaled(1.0)) for _ in range(2))
    pd.testing.assert_frame_equal(one.ratios, other.ratios)
    assert one.checks == other.checks


def test_other_test_data_are_refused() -> None:
    with pytest.raises(DataError, match="cannot be compared, for their test data differ: "):
        decided(scaled(1.0), origins_table(times=TIMES[1:]))


def test_a_baseline_that_was_not_tested_is_named() -> None:
    with pytest.raises(DataError, match=r"was not tested beside day_ago: add it to evaluate\.baselines and run dvc"):
        decided(scaled(1.0), must_beat=["persistence", "day_ago"])


def test_leads_without_any_error_are_refused() -> None:
    ratios = decided(scaled(1.0)).ratios.assign(value=np.nan)
    with pytest.raises(DataError, match=r"cannot be compared at any lead of promote\.leads: .*; choose other leads"):
        worst_of(ratios)


def test_a_decision_is_printed_with_the_baselines_and_each_demand() -> None:
    console = Console(file=StringIO(), width=100)
    challenger, champion = second_variable(scaled(0.81)), second_variable(scaled(1.0))
    print_decision(decided(challenger, champion), RULE, "Promoted.", console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for said in ("rain: RMSE (mm h⁻¹)", "wind: RMSE (m s⁻¹)", "champion", "Advection", "0.9000 to 0.9000", "✓ RMSE"):
        assert said in text
    assert "all variables: the challenger's RMSE as a share of that of" in text
    assert text.endswith("Promoted.\n")


def test_what_is_not_met_is_marked_and_what_has_no_interval_shows_none() -> None:
    console = Console(file=StringIO(), width=100)
    table = origins_table(times=TIMES[:1])
    print_decision(decided(table, table), RULE, "Not promoted.", console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "✗ There is no interval" in text
    assert "–" in text
