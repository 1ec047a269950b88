import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from tested import scores

from physicnet.evaluation.table import markdown_table, print_table
from physicnet.fields import DataError


def printed(results: Path, *, ansi: bool = False) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=ansi, color_system="standard" if ansi else None)
    print_table(results, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    rows = {"lead": [1, 2] * 2, "lead_minutes": [5, 10] * 2, "rmse": [0.5, 0.9, 0.6, 0.8], "mae": [0.1, 0.2, 0.1, 0.3]}
    scores = pd.DataFrame(
        {"model": ["physicnet"] * 2 + ["persistence"] * 2, "variable": "rain", "units": "mm h-1"} | rows
    )
    scores = scores.assign(**{"csi_0.5": [0.7, None, 0.6, None], "skill": [0.3, -0.1, 0.0, 0.0]})
    scores.to_csv(tmp_path / "scores.csv", index=False)
    return tmp_path


def test_the_table_names_models_scores_and_leads(results: Path) -> None:
    text = printed(results)
    for word in (
        "rain",
        "PhysicNet",
        "Persistence",
        "RMSE (mm h⁻¹)",
        "CSI 0.5 mm h⁻¹",
        "Skill",
        "5 min",
        "10 min",
        "0.500",
    ):
        assert word in text


def test_the_best_of_each_lead_is_bold_and_a_tie_twice(results: Path) -> None:
    text = printed(results, ansi=True)
    bold = [cell.split("\x1b")[0] for cell in text.split("\x1b[1m")[1:]]
    numbers = [cell for cell in bold if cell.replace(".", "").isdigit()]
    # RMSE of one and the other, both MAE of the first lead and one of the second, skill of one and the other, CSI.
    assert numbers == ["0.500", "0.800", "0.100", "0.200", "0.100", "0.300", "0.000", "0.700"]


def test_a_score_that_does_not_exist_is_a_dash(results: Path) -> None:
    assert "–" in printed(results)


def test_every_variable_has_its_table(results: Path) -> None:
    scores = pd.read_csv(results / "scores.csv")
    wind = scores.assign(variable="wind", units="m s-1")
    pd.concat([scores, wind]).to_csv(results / "scores.csv", index=False)
    text = printed(results)
    assert "rain: scores per lead time" in text
    assert "wind: scores per lead time" in text


def test_a_folder_without_scores_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"scores\.csv does not exist; run the stage that writes it \(dvc repro\)"):
        print_table(tmp_path)


def test_a_table_in_markdown_shows_the_best_of_each_lead_in_bold() -> None:
    lines = markdown_table("rain", scores()).splitlines()
    assert lines[0] == "| rain | | 5 min | 10 min | 15 min |"
    assert lines[2] == "| RMSE (mm h⁻¹) | PhysicNet | **0.250** | **0.500** | **0.500** |"
    assert lines[3] == "|  | Persistence | 0.500 | 0.750 | 0.750 |"
    assert lines[6:8] == [
        "| CSI 0.5 mm h⁻¹ | PhysicNet | 0.800 | 0.700 | **0.600** |",
        "|  | Persistence | **0.900** | **0.800** | **0.600** |",
    ]


def test_the_skill_carries_its_interval() -> None:
    last = markdown_table("rain", scores()).splitlines()[-1]
    assert (
        last
        == "| Skill (95 % interval) | PhysicNet | 0.75 (0.70 to 0.80) | 0.75 (0.70 to 0.80) | 0.75 (0.70 to 0.80) |"
    )


def test_of_many_leads_the_first_and_four_more_are_shown() -> None:
    table = scores()
    rows = [
        table.assign(lead=table["lead"] + 3 * part, lead_minutes=table["lead_minutes"] + 15 * part) for part in range(4)
    ]
    head = markdown_table("rain", pd.concat(rows)).splitlines()[0]
    assert head == "| rain | | 5 min | 15 min | 30 min | 45 min | 60 min |"


def test_a_score_that_does_not_exist_is_a_dash_in_markdown_too() -> None:
    table = scores()
    table.loc[0, "mae"] = float("nan")
    assert "| MAE (mm h⁻¹) | PhysicNet | – | **0.500** | **0.500** |" in markdown_table("rain", table)
