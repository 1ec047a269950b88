from io import StringIO

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from tested import TIMES, origins_table, second_variable

from physicnet.config import EvaluateConfig
from physicnet.evaluation.comparison import differing, print_comparison, ratios, together, verdict
from physicnet.evaluation.scored import ScoredRun, refuse_unlike

CONFIG = EvaluateConfig(baselines=[], thresholds={"rain": [1.0]}, fss_scale=3, bootstrap_samples=200, seed=0)


def run(label: str, origins: pd.DataFrame, **settings: str) -> ScoredRun:
    return ScoredRun(label, f"execution {label * 8}", "2020-06-02 10:00 UTC", settings, origins)


def printed(*runs: ScoredRun, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width)
    print_comparison(runs, CONFIG, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_comparison_shows_settings_scores_and_ratios() -> None:
    text = printed(run("A", origins_table(), seed="1", size="3"), run("B", origins_table(0.25), seed="2", size="3"))
    assert "A  execution AAAAAAAA  2020-06-02 10:00 UTC" in text
    assert "Tested on rain (mm h⁻¹) from 4 forecast origins" in text
    assert "seed" in text
    assert "size" not in text
    for title in ("PhysicNet A", "PhysicNet B", "RMSE (mm h⁻¹)", "CSI 1 mm h⁻¹", "RMSE as a share of A's"):
        assert title in text
    assert "RMSE of B against A: B is better at every lead." in text
    assert "0.500–0.500" in text


def test_every_variable_has_its_tables_and_words() -> None:
    text = printed(run("A", second_variable(origins_table())), run("B", second_variable(origins_table(4.0))))
    assert "wind: scores per lead time" in text
    assert "wind: RMSE as a share of A's" in text
    assert text.count("A is better at every lead") == 2
    assert "No setting differs." in text


def test_a_comparison_of_three_fits_eighty_columns() -> None:
    runs = [run(label, origins_table(factor), rate=label * 30) for label, factor in zip("ABC", (1, 2, 3), strict=True)]
    assert max(map(len, printed(*runs).splitlines())) <= 80


def test_one_origin_has_no_interval() -> None:
    table = origins_table(times=TIMES[:1])
    text = printed(run("A", table), run("B", table), width=120)
    assert "from one origin, 2020-06-01 12:00, at 3 leads, 5 min to 15 min" in text
    assert "RMSE of B against A: no interval, for too few forecast origins." in text


def test_only_settings_that_differ_are_kept_in_their_order_and_a_missing_one_is_a_dash() -> None:
    settings = [{"b": "1", "a": "1", "same": "0"}, {"a": "2", "b": "1", "same": "0", "new": "x"}]
    assert differing(settings) == {"a": ["1", "2"], "new": ["–", "x"]}


def test_baselines_stand_once_and_again_if_their_errors_differ() -> None:
    changed = origins_table()
    changed.loc[changed["model"] == "advection", "squared_error"] *= 2
    sums = together([run("A", origins_table()), run("B", origins_table()), run("C", changed)])
    models = ["PhysicNet A", "PhysicNet B", "PhysicNet C", "persistence", "advection", "Advection C"]
    assert list(sums["model"].unique()) == models
    assert len(sums) == len(models) * 4 * 3


def test_a_baseline_of_the_other_run_alone_is_shown_too() -> None:
    first = origins_table()
    sums = together([run("A", first[first["model"] != "advection"]), run("B", origins_table())])
    assert list(sums["model"].unique()) == ["PhysicNet A", "PhysicNet B", "persistence", "advection"]


def test_frames_are_counted_as_in_the_first_run() -> None:
    """A record that begins earlier gives the same forecasts other numbers."""
    one, other = run("A", origins_table()), run("B", origins_table(0.25, first=100))
    refuse_unlike(one, other)
    assert sorted(together([one, other])["origin"].unique()) == [7, 8, 9, 10]
    assert ratios(one, other, CONFIG)["value"].tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        ([0.8, 0.8, 0.8, 0.8], [0.9, 0.9, 0.9, 0.9], "B is better at every lead"),
        (
            [0.8, 0.8, 0.9, 1.1],
            [0.9, 0.9, 1.0, 1.2],
            "B is better at 5 min to 10 min; A is better at 20 min; no difference beyond chance at 15 min",
        ),
        (
            [1.1, 0.9, 1.1, np.nan],
            [1.2, 1.1, 1.2, np.nan],
            "A is better at 5 min, 15 min; no difference beyond chance at 10 min, 20 min",
        ),
    ],
)
def test_what_the_intervals_say_is_put_into_words(low: list[float], high: list[float], said: str) -> None:
    rows = pd.DataFrame({"lead_minutes": [5, 10, 15, 20], "low": low, "high": high})
    assert verdict(rows, "A", "B") == f"RMSE of B against A: {said}"


def test_a_difference_that_the_digits_hide_is_none() -> None:
    found = ratios(run("A", origins_table()), run("B", origins_table(0.9999)), CONFIG)
    assert "no difference beyond chance at every lead" in verdict(found, "A", "B")


def test_brackets_in_a_setting_are_no_markup() -> None:
    text = printed(run("A", origins_table(), pattern="[abc]*.nc"), run("B", origins_table(), pattern="[a-z]*.nc"))
    assert "[abc]*.nc" in text
    assert "[a-z]*.nc" in text
