import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn
from training.conftest import MACHINE, TRAIN, Data

from physicnet.data.dataset import Batch
from physicnet.machine import machine
from physicnet.training.loop import Fitted, Report, finish, fit, learning_rate, write_history

CONFIG = TRAIN.model_copy(update={"epochs": 4})


class Interrupted(Exception):
    """What a test throws into a training."""


class Mean:
    """The smallest task: learn the mean of the clips with one weight; validates as it is told to."""

    def __init__(self, validation: list[float], *, fail_at: int | None = None, poison_at: int | None = None) -> None:
        self.model: nn.Module = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.model.weight)
        self.validation = iter(validation)
        self.validated: list[float] = []
        self.fail_at, self.poison_at = fail_at, poison_at

    def prepared(self, batch: Batch, step: int) -> Batch:
        if step == self.fail_at:
            raise Interrupted
        return Batch(batch.clip * math.nan, batch.windows) if step == self.poison_at else batch

    def terms(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        return {"distance": (self.model(torch.ones(1)) - batch.clip.mean()).square().mean()}

    def settle(self) -> None:
        pass

    def epoch_values(self) -> dict[str, float]:
        return {"seen": 1.0}

    def validate(self, model: nn.Module) -> dict[str, float]:
        self.validated.append(next(model.parameters()).item())
        return {"validation_loss": next(self.validation)}


def run(task: Mean, data: Data, resume: Path, *, key: str = "key", report: Report = lambda *_: None) -> Fitted:
    with machine(MACHINE) as on:
        return fit(task, data.inputs.clips, CONFIG, machine=on, resume=resume, key=key, report=report)


def test_the_epoch_of_the_best_validation_is_kept(data: Data, tmp_path: Path) -> None:
    task = Mean([3.0, 1.0, 2.0, 1.0])
    fitted = run(task, data, tmp_path)
    assert fitted.best_epoch == 2
    assert fitted.weights["weight"].item() == task.validated[1] != task.validated[3]


def test_what_is_validated_is_the_running_mean_of_the_weights(data: Data, tmp_path: Path) -> None:
    task = Mean([4.0, 3.0, 2.0, 1.0])
    run(task, data, tmp_path)
    assert 0 < abs(task.validated[-1]) < abs(task.model.weight.item())  # the weight moves from 0 one way


def test_an_interrupted_training_ends_where_the_uninterrupted_one_does(data: Data, tmp_path: Path) -> None:
    whole = run(Mean([4.0, 3.0, 2.0, 1.0]), data, tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(Mean([4.0, 3.0], fail_at=7), data, tmp_path / "cut")
    reported: list[int] = []
    resumed = run(Mean([2.0, 1.0]), data, tmp_path / "cut", report=lambda epoch, _: reported.append(epoch))
    assert reported == [3, 4]
    assert torch.equal(resumed.weights["weight"], whole.weights["weight"])
    assert resumed.history == whole.history


def test_the_state_of_another_key_is_not_used(data: Data, tmp_path: Path) -> None:
    run(Mean([4.0, 3.0, 2.0, 1.0]), data, tmp_path, key="one")
    fresh = run(Mean([4.0, 3.0, 2.0, 1.0]), data, tmp_path, key="another")
    again = run(Mean([]), data, tmp_path, key="another")
    assert len(fresh.history) == 4
    assert again.history == fresh.history  # nothing left to do: validation was not asked


def test_a_loss_that_is_not_finite_stops_the_training(data: Data, tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="not finite in epoch 2, step 2: .*distance"):
        run(Mean([1.0], poison_at=4), data, tmp_path)


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    long = CONFIG.model_copy(update={"epochs": 10, "steps_per_epoch": 20})
    rates = [learning_rate(long, step) for step in range(200)]
    assert np.argmax(rates) == 19
    assert max(rates) == pytest.approx(CONFIG.learning_rate)
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert (np.diff(rates)[:19] > 0).all()
    assert (np.diff(rates)[19:] < 0).all()


def test_history_is_one_row_per_epoch(tmp_path: Path) -> None:
    write_history(tmp_path / "h.csv", Fitted({}, 1, [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]))
    assert pd.read_csv(tmp_path / "h.csv")["loss"].tolist() == [0.5, 0.25]


def test_a_finished_training_leaves_no_state(data: Data, tmp_path: Path) -> None:
    run(Mean([4.0, 3.0, 2.0, 1.0]), data, tmp_path / "resume")
    finish(tmp_path / "resume")
    assert not (tmp_path / "resume").exists()
