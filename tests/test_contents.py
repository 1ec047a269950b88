from pathlib import Path

import pytest
from workspaces import HISTORY, SCORES, paths_of

from physicnet.contents import CONTENTS, read_epochs, read_means, read_pictures, read_scores


@pytest.mark.parametrize("stage", CONTENTS)
def test_contents_are_named_by_options_of_the_command(stage: str) -> None:
    assert CONTENTS[stage].options <= paths_of(stage).keys()


def test_means_are_named_by_their_path(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"ours": {"rain": {"rmse": 1, "csi": null}}, "skill": 0.5, "name": "x"}')
    assert read_means(tmp_path / "metrics.json") == [("test/ours/rain/rmse", 1.0, 0), ("test/skill", 0.5, 0)]


def test_scores_that_do_not_exist_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text(SCORES)
    shown = [metric for metric in read_scores(tmp_path / "scores.csv") if metric[0].endswith(("rmse", "csi_0.5"))]
    assert shown == [
        ("test by lead/ours/rain/rmse", 0.25, 5),
        ("test by lead/ours/rain/rmse", 0.5, 10),
        ("test by lead/persistence/rain/rmse", 1.0, 5),
        ("test by lead/persistence/rain/csi_0.5", 0.5, 5),
    ]


def test_leads_of_part_of_a_minute_are_counted(tmp_path: Path) -> None:
    """MLflow takes whole numbers: two leads of one minute would be one."""
    rows = [f"ours,rain,mm,{lead},{lead / 6},0.5" for lead in (1, 2, 6)]
    (tmp_path / "scores.csv").write_text("\n".join(["model,variable,units,lead,lead_minutes,rmse", *rows]))
    shown = [metric for metric in read_scores(tmp_path / "scores.csv") if metric[0].endswith("rmse")]
    assert [step for *_, step in shown] == [1, 2, 6]


def test_epochs_are_steps_and_what_is_not_finite_stays_so(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(HISTORY)
    metrics = read_epochs(tmp_path / "history.csv")
    assert metrics[:2] == [("epoch", 1.0, 1), ("loss", 0.333333, 1)]
    assert [(value, step) for name, value, step in metrics if name.endswith("perplexity")] == [
        (pytest.approx(float("nan"), nan_ok=True), 1),
        (2.0, 2),
    ]


def test_pictures_are_series_of_a_variable_by_their_minutes(tmp_path: Path) -> None:
    for name in ("rain/lead_000.png", "rain/lead_015.png", "wind/lead_060.png", "rain/other.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert read_pictures(tmp_path) == [
        ("forecast/rain", 0, tmp_path / "rain" / "lead_000.png"),
        ("forecast/rain", 15, tmp_path / "rain" / "lead_015.png"),
        ("forecast/wind", 60, tmp_path / "wind" / "lead_060.png"),
    ]
