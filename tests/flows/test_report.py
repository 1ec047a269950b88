import base64
import json
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from skimage.io import imread

from flows.report import page as page_of
from flows.report import picture, skill_figure, skill_table
from flows.retrained import Retrained, Standing
from physicnet.digest import content_hash

STAGES = {
    "ingest": {"cmd": "physicnet ingest --catalogue data/catalogue"},
    "evaluate": {"cmd": "physicnet evaluate --checkpoint models/model.safetensors --results results"},
}
DECISION = {
    "verdict": "promoted",
    "words": "Promoted: version 2 is the champion now, in place of version 1.",
    "reasons": [{"text": "lower by 3 %", "met": True}, {"text": "at 5 min higher by 4 %", "met": False}],
}


def scores(rmse: dict[str, float], leads: int = 12) -> pd.DataFrame:
    rows = [
        {"model": model, "variable": "rain_rate", "units": "mm h-1", "lead": lead, "lead_minutes": 5.0 * lead}
        | {"rmse": value * lead}
        for model, value in rmse.items()
        for lead in range(1, leads + 1)
    ]
    return pd.DataFrame(rows)


def files(*names: str) -> pd.DataFrame:
    span = {"first": "2010-08-26T00:00:00", "last": "2010-08-26T00:55:00"}
    rows = [{"path": name, "status": "accepted", "reason": "", "frames": 12} | span for name in names]
    return pd.DataFrame(rows)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    for name in ("data/catalogue", "results", "models", "reports"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def write(folder: Path, standing: Standing, checkpoint: bytes) -> None:
    assert standing.scores is not None
    assert standing.files is not None
    standing.scores.to_csv(folder / "results" / "scores.csv", index=False)
    standing.files.to_csv(folder / "data" / "catalogue" / "files.csv", index=False)
    (folder / "models" / "model.safetensors").write_bytes(checkpoint)
    told = DECISION | {"challenger": {"checkpoint_sha256": content_hash(folder / "models" / "model.safetensors")}}
    (folder / "reports" / "promotion.json").write_text(json.dumps(told))


def test_the_page_tells_what_came_what_ran_how_well_it_forecasts_and_what_was_decided(folder: Path) -> None:
    write(folder, Standing(scores({"physicnet": 0.2}), files("a.nc")), b"old")
    report = Retrained.begin()
    report.add({"ingest": "Ran"})
    report.add({"ingest": "Unchanged", "train": "Ran"})
    refused = pd.DataFrame([{"path": "c.nc", "status": "quarantined", "reason": "no axis of time", "frames": 0}])
    came = pd.concat([files("a.nc", "b.nc"), refused])
    write(folder, Standing(scores({"physicnet": 0.1, "persistence": 0.4}), came), b"new")
    report.end()
    assert report.is_promoted
    page = page_of(report)
    assert page.startswith("**Promoted: version 2 is the champion now")
    assert "- lower by 3 %\n- **Not met.** at 5 min higher by 4 %" in page
    assert "| b.nc | accepted | 12 | 2010-08-26T00:00:00 to 2010-08-26T00:55:00 |" in page
    assert "| c.nc | quarantined: no axis of time | 0 | |" in page
    assert "a.nc" not in page
    assert "| ingest | Ran |\n| train | Ran |" in page
    assert "| PhysicNet | 0.100 |" in page
    assert "| PhysicNet before | 0.200 |" in page


def test_what_earlier_runs_took_in_since_the_last_training_is_told_too(folder: Path) -> None:
    later = files("b.nc").assign(first="2010-08-26T01:00:00", last="2010-08-26T01:55:00")
    known = pd.concat([files("a.nc"), later])
    write(folder, Standing(scores({"physicnet": 0.2}), known), b"old")
    report = Retrained.begin()
    report.before = replace(report.before, trained_until=np.datetime64("2010-08-26T00:55:00"))
    report.end()
    assert "| b.nc | accepted | 12 | 2010-08-26T01:00:00 to 2010-08-26T01:55:00 |" in page_of(report)
    assert "a.nc" not in page_of(report)


def test_a_decision_about_another_model_is_none_about_this_one(folder: Path) -> None:
    write(folder, Standing(scores({"physicnet": 0.2}), files("a.nc")), b"old")
    (folder / "models" / "model.safetensors").write_bytes(b"trained since")
    report = Retrained.begin()
    report.end()
    assert not report.is_promoted
    assert report.summary == "The model is the champion already: there was nothing to decide."


def test_the_first_retrain_has_nothing_before_it(folder: Path) -> None:
    report = Retrained.begin()
    write(folder, Standing(scores({"physicnet": 0.1}), files("a.nc")), b"new")
    report.end()
    assert "before" not in page_of(report)
    assert "| a.nc | accepted | 12 |" in page_of(report)


def test_leads_that_the_model_before_did_not_have_are_left_open() -> None:
    table = skill_table("rain_rate", scores({"physicnet": 0.1}), scores({"physicnet": 0.2}, leads=6)).splitlines()
    assert table[0] == "| RMSE of rain_rate (mm h⁻¹) | 5 min | 15 min | 30 min | 45 min | 60 min |"
    assert table[-1] == "| PhysicNet before | 0.200 | 0.600 | 1.200 | – | – |"


def test_the_figure_stands_in_the_page_itself() -> None:
    now = scores({"physicnet": 0.1, "persistence": 0.4})
    figure = skill_figure(now, scores({"physicnet": 0.2}))
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    assert lines["PhysicNet before"][-1] == pytest.approx(2.4)
    encoded = re.fullmatch(r"!\[.*\]\(data:image/png;base64,(.*)\)", picture(figure, "RMSE"))
    assert encoded is not None
    image = imread(BytesIO(base64.b64decode(encoded[1])))
    assert image.shape[0] > 200
    assert image.std() > 5
