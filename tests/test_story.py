import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from physicnet.data.synthetic import Uniform, Waves, advected_field
from physicnet.story import LONGEST, observations, results_summary, training_summary


def test_observations_tell_times_grid_and_variables_of_one_part(tmp_path: Path) -> None:
    field = advected_field(9, 5, 7, flow=Uniform(1.0, 0.0), pattern=Waves(num=3, wavelength=4.0, seed=0))
    field.save(tmp_path / "record")
    splits = {"train": [[0, 3]], "test": [[4, 6], [7, 9]]}
    (tmp_path / "statistics.json").write_text(json.dumps({"splits": splits}))
    read = observations(tmp_path / "record", tmp_path / "statistics.json", "test")
    times = np.datetime_as_string(field.times, unit="s")
    assert (read.profile["frames"], read.profile["gaps"]) == (4, 1)
    assert (read.profile["first"], read.profile["last"]) == (times[4], times[8])
    assert read.profile["step_minutes"] == field.step / np.timedelta64(1, "m")
    assert read.shape == (5, 7)
    assert read.variables == field.units
    assert read.profile["grid"].startswith("5 rows of ")
    assert read.name == f"{field.variables[0]} from {times[4][:10]}, test part"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    rows = {"model": ["ours", "persistence"], "variable": "rain", "units": "mm h-1", "lead": 1, "lead_minutes": 5.0}
    numbers = {"rmse": [0.25, 0.5], "mae": 0.125, "skill": 0.75, "skill_low": 0.7, "skill_high": 0.8}
    pd.DataFrame(rows | numbers).to_csv(tmp_path / "scores.csv", index=False)
    times = ["2010-08-26 06:10:00", "2010-08-26 06:05:00", "2010-08-26 06:10:00"]
    pd.DataFrame({"time": times}).to_csv(tmp_path / "origins.csv", index=False)
    return tmp_path


def test_results_say_from_where_and_how_good(results: Path) -> None:
    text = results_summary(results)
    assert text.startswith(
        "2 forecasts of the test part, from 2010-08-26 06:05:00 to 2010-08-26 06:10:00 UTC, up to 5 min ahead."
    )
    assert "| RMSE (mm h⁻¹) | ours | **0.250** |" in text


def test_of_too_many_variables_the_first_are_shown_and_the_others_counted(results: Path) -> None:
    scores = pd.read_csv(results / "scores.csv")
    many = [scores.assign(variable=f"rain{number:02}") for number in range(50)]
    pd.concat(many).to_csv(results / "scores.csv", index=False)
    text = results_summary(results)
    shown = text.count("| RMSE")
    assert 5 < shown < 50
    assert text.endswith(f"\n\n{50 - shown} more tables: see scores.csv.")
    assert len(text) < LONGEST + 500


def test_a_training_is_told_by_its_best_epoch(tmp_path: Path) -> None:
    rows = {
        "epoch": [1.0, 2.0, 3.0],
        "validation_loss": [2.0, 1.25, 1.5],
        "validation_codebook_usage": [0.5, 0.75, 1.0],
        "validation_codebook_perplexity": [10.0, 20.2, 30.0],
    }
    pd.DataFrame(rows).to_csv(tmp_path / "history.csv", index=False)
    said = training_summary(tmp_path / "history.csv")
    assert said == "Epoch 2 of 3 validates best: loss 1.25; 75% of the codes in use, perplexity 20."
    pd.DataFrame(rows | {"validation_skill": [0.1, 0.5, 0.2]}).to_csv(tmp_path / "history.csv", index=False)
    assert "loss 1.25; 50% of persistence's loss removed; 75%" in training_summary(tmp_path / "history.csv")
