"""The hours follow each other without a look ahead, and each model starts from what its name says."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from physicnet.config import Params, load_params
from physicnet.digest import content_hash

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return importlib.import_module("adaptation")


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(ROOT / "params.yaml")


def test_forecasts_of_an_hour_end_in_the_record_and_belong_to_no_other_hour(script: ModuleType, params: Params) -> None:
    plan = script.hours(30, 1, 70, 5.0, params)
    assert [(hour.number, hour.known) for hour in plan] == [(0, 30), (1, 42), (2, 54)]
    assert [start for hour in plan for start in hour.starts] == list(range(26, 55))
    for hour in plan:
        last_observed = [start + params.clip.frames_in - 1 for start in hour.starts]
        assert min(last_observed) == hour.known - 1
        assert max(hour.starts) + params.clip.frames <= 70


def test_an_hour_without_a_whole_forecast_is_left_out(script: ModuleType, params: Params) -> None:
    assert [hour.known for hour in script.hours(30, 4, 45, 5.0, params)] == [30]
    assert script.hours(30, 4, 70, 5.0, params)[0].starts == [26, 30, 34]
    assert [hour.known for hour in script.hours(30, 1, 70, 10.0, params)] == [30, 36, 42, 48, 54]


def test_each_model_starts_from_what_its_name_says_and_is_made_once(
    script: ModuleType, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str, str | None]] = []

    def train(config: Any, *_: object, checkpoint: Path, **__: object) -> None:
        start = config.init_from
        if start is not None:
            assert content_hash(Path(start.checkpoint)) == start.sha256
        done.append((checkpoint.parent.name, config.learns, start and Path(start.checkpoint).parent.name))
        checkpoint.write_text(checkpoint.parent.name)

    monkeypatch.setattr(script, "train", train)
    monkeypatch.setattr(script, "pretrain", lambda *_, history, **__: done.append((history.parent.name, "codes", None)))
    few = params.train.model_copy(update={"epochs": 1, "steps_per_epoch": 7})
    workshop = script.Workshop(params, few, tmp_path)
    first, second, third = script.hours(30, 1, 70, 5.0, params)
    whole = (
        params.codebook.epochs * params.codebook.steps_per_epoch + params.train.epochs * params.train.steps_per_epoch
    )
    for _ in range(2):
        assert workshop.make("frozen", first, None, {}).steps == whole
        for before, hour in ((first, second), (second, third)):
            costs = [workshop.make(name, hour, before, {}).steps for name in script.MODELS]
            assert costs == [0, 7, 7, whole]
    assert done == [
        ("first", "codes", None),
        ("first", "all", None),
        ("adapted-1", "fusion", "first"),
        ("continued-1", "all", "first"),
        ("retrained-1", "codes", None),
        ("retrained-1", "all", None),
        ("adapted-2", "fusion", "adapted-1"),
        ("continued-2", "all", "continued-1"),
        ("retrained-2", "codes", None),
        ("retrained-2", "all", None),
    ]


def test_a_smaller_budget_changes_nothing_but_the_length_of_both_trainings(script: ModuleType, params: Params) -> None:
    small = script.reduced(params, 1, None)
    assert (small.codebook.epochs, small.train.epochs) == (1, 1)
    assert small.train.steps_per_epoch == params.train.steps_per_epoch
    restored = {
        name: getattr(small, name).model_copy(update={"epochs": getattr(params, name).epochs})
        for name in ("codebook", "train")
    }
    assert small.model_copy(update=restored) == params
