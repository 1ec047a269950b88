import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from training.conftest import CLIP, CODEBOOK, MACHINE, MODEL, TRAIN, Data

from physicnet.checkpoint import CheckpointError, load_checkpoint
from physicnet.config import ClipConfig, TrainConfig
from physicnet.data.dataset import Batch
from physicnet.fields import Field
from physicnet.machine import machine
from physicnet.model.physicnet import Prediction
from physicnet.training import joint
from physicnet.training.joint import Joint, asked_leads, train
from physicnet.training.loop import Fitted
from physicnet.training.memory import first_memory
from physicnet.training.pretraining import pretrain

NAMES = ("checkpoint", "history")
THRESHOLDS = {"rate": [1.0]}


def run(data: Data, codebook: Path, folder: Path, **changes: object) -> Path:
    checkpoint = folder / "model.safetensors"
    train(
        TRAIN.model_copy(update=changes),
        CLIP,
        MODEL,
        MACHINE,
        THRESHOLDS,
        **data.paths,
        codebook=codebook,
        checkpoint=checkpoint,
        history=folder / "training.csv",
        resume=folder / "resume",
        report=lambda *_: None,
    )
    return checkpoint


def task_on(data: Data, config: TrainConfig = TRAIN) -> Joint:
    inputs = data.inputs
    net = inputs.build(MODEL, CLIP)
    with torch.no_grad():  # away from the zeros of the untrained experts, behind which nothing moves
        for parameter in net.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    with machine(MACHINE) as on:
        return Joint(net, config, CLIP, inputs.normalizer, inputs.validation, on)


def test_equal_seeds_give_equal_bytes(data: Data, codebook: Path, tmp_path: Path) -> None:
    first, second = run(data, codebook, tmp_path / "one"), run(data, codebook, tmp_path / "two")
    assert first.read_bytes() == second.read_bytes()
    assert run(data, codebook, tmp_path / "three", seed=99).read_bytes() != first.read_bytes()


def test_joint_training_starts_from_the_pretrained_codebook_and_a_fitted_memory(
    data: Data, codebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: dict[str, torch.Tensor] = {}

    def fit(task: Joint, *_: object, **__: object) -> Fitted:
        started.update({name: tensor.clone() for name, tensor in task.model.state_dict().items()})
        return Fitted(started, 1, [{"epoch": 1}])

    monkeypatch.setattr(joint, "fit", fit)
    run(data, codebook, tmp_path)
    pretrained = load_checkpoint(codebook).tensors
    assert len(pretrained) > 10
    assert all(torch.equal(started[name], tensor) for name, tensor in pretrained.items())
    fit = first_memory(data.inputs.build(MODEL, CLIP), data.inputs.clips, CLIP.frames_in)
    torch.testing.assert_close(started["memory.fitted"], fit.weights, rtol=0, atol=0)
    torch.testing.assert_close(started["memory.units"], fit.units, rtol=0, atol=0)
    assert fit.weights.any()
    untrained = data.inputs.build(MODEL, CLIP).state_dict()
    assert not torch.equal(untrained["codebook.codes"], started["codebook.codes"])


def test_a_codebook_of_another_size_is_refused(data: Data, codebook: Path, tmp_path: Path) -> None:
    outputs = {"checkpoint": tmp_path / "m", "history": tmp_path / "h", "resume": tmp_path / "r"}
    larger = MODEL.model_copy(update={"num_codes": 13})
    with pytest.raises(CheckpointError, match="codebook.* instead of .*run the codebook stage again"):
        train(
            TRAIN, CLIP, larger, MACHINE, THRESHOLDS, **data.paths, codebook=codebook, **outputs, report=lambda *_: None
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("term", "part"),
    [
        ("prediction", "local_level.source"),
        ("prediction", "global_level.source"),
        ("prediction", "global_level.flow"),
        ("prediction", "local_level.flow"),
        ("prediction", "memory"),
        ("prediction_global", "global_level.source"),
        ("prediction_global", "memory"),
        ("prediction_global", "global_level.flow"),
        ("prediction_local", "local_level.source"),
        ("prediction_local", "local_level.encoder"),
        ("commitment", "global_level.encoder"),
        ("commitment", "local_level.encoder"),
        ("smoothness", "global_level.flow"),
        ("smoothness", "local_level.flow"),
    ],
)
def test_each_named_term_moves_its_part(data: Data, term: str, part: str) -> None:
    task = task_on(data)
    first, second = (Batch(*(part[None] for part in data.inputs.clips[index])) for index in (0, 5))
    task.terms(first)
    task.settle()
    task.terms(second)[term].backward()
    module = task.model.get_submodule(part)
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in module.parameters())


def test_the_terms_are_the_weights_of_the_parameters(data: Data) -> None:
    task = task_on(data)
    sample = data.inputs.clips[0]
    terms = task.terms(Batch(sample.clip[None], sample.windows[None]))
    assert terms.keys() == TRAIN.losses.model_fields_set


def test_a_prediction_without_a_weight_is_not_made(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = TRAIN.losses.model_copy(update={"prediction_global": 0.0, "prediction_local": 0.0})
    sample = data.inputs.clips[0]
    batch = Batch(sample.clip[None], sample.windows[None])
    whole = task_on(data).terms(batch)
    for name in ("global_frames", "reach"):
        monkeypatch.delattr(Prediction, name)
    terms = task_on(data, TRAIN.model_copy(update={"losses": losses})).terms(batch)
    assert terms.keys() == TRAIN.losses.model_fields_set - {"prediction_global", "prediction_local"}
    assert all(term == whole[name] for name, term in terms.items())


@pytest.mark.parametrize(("frames_out", "one_in", "count"), [(12, 3, 4), (10, 3, 4), (30, 1, 30), (2, 7, 1)])
def test_of_the_leads_a_step_is_asked_for_each_is_as_likely(frames_out: int, one_in: int, count: int) -> None:
    config, clip = TRAIN.model_copy(update={"one_lead_in": one_in}), ClipConfig(frames_in=2, frames_out=frames_out)
    drawn = torch.stack([asked_leads(step, config, clip) for step in range(3000)])
    assert drawn.shape == (3000, count)
    times = torch.bincount(drawn.flatten(), minlength=frames_out + 1)
    assert times[0] == 0
    assert len(times) == frames_out + 1
    expected = 3000 * count / frames_out
    assert (times[1:] / expected - 1).abs().max() < 0.1
    apart = drawn.diff(dim=1)
    assert ((apart >= frames_out // count) & (apart <= -(-frames_out // count))).all()
    assert torch.equal(asked_leads(5, config, clip), drawn[5])


def test_one_lead_after_the_other_has_the_terms_of_all(data: Data) -> None:
    sample = data.inputs.clips[0]
    batch = Batch(sample.clip[None], sample.windows[None])
    config = TRAIN.model_copy(update={"one_lead_in": 2, "mirror": False, "rescale": 1.0})
    task, parts = task_on(data, config), {}
    for step in range(20):
        parts[int(asked_leads(step, config, CLIP))] = task.terms(task.prepared(batch, step))
    assert parts.keys() == {1, 2}
    wholes = task_on(data).terms(batch)
    for name, whole in wholes.items():
        first, second = parts[1][name], parts[2][name]
        if name in ("commitment", "smoothness"):
            torch.testing.assert_close((first, second), (whole, whole))
        else:  # not their mean: fewer cells come from within the view at the second
            assert min(first, second) < whole < max(first, second)


def test_an_epoch_tells_how_many_cells_were_held_back(data: Data) -> None:
    task, sample = task_on(data), data.inputs.clips[0]
    batch = Batch(sample.clip[None], sample.windows[None])
    task.terms(batch)
    task.settle()
    assert task.epoch_values()["saturation"] < 0.1
    task.model.memory.fitted[:, -1] += 100.0  # added everywhere, at every lead
    task.terms(batch)
    task.settle()
    assert task.epoch_values()["saturation"] == 1.0


def test_validation_compares_with_persistence(data: Data) -> None:
    task = task_on(data)
    scores = task.validate(task.model)
    codes = {"validation_codebook_usage", "validation_codebook_perplexity"}
    assert (
        scores.keys() == {"validation_loss", "validation_global", "validation_persistence", "validation_skill"} | codes
    )
    assert all(score > 0 for score in scores.values())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_killed_training_resumes_to_the_same_bytes(
    data: Data, codebook: Path, tmp_path: Path, optimizer: str
) -> None:
    whole = run(data, codebook, tmp_path / "whole", epochs=6, optimizer=optimizer)
    killed = tmp_path / "killed"
    code = (
        "import sys; from pathlib import Path; from training.conftest import Data; from training.test_joint import run;"
        "optimizer, *paths = sys.argv[1:]; *data, book, folder = map(Path, paths);"
        "run(Data(*data), book, folder, epochs=6, optimizer=optimizer)"
    )
    paths = [optimizer, *map(str, data.paths.values()), str(codebook), str(killed)]
    process = subprocess.Popen([sys.executable, "-c", code, *paths], env=os.environ | {"PYTHONPATH": "tests"})
    state = killed / "resume" / "state.safetensors"
    while not state.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "model.safetensors").exists()
    assert run(data, codebook, killed, epochs=6, optimizer=optimizer).read_bytes() == whole.read_bytes()
    histories = [(folder / "training.csv").read_bytes() for folder in (killed, whole.parent)]
    assert histories[0] == histories[1]


@pytest.fixture(scope="module")
def patchy(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Data:
    """The same clips, of which no two have equally many cells observed."""
    folder = tmp_path_factory.mktemp("patchy")
    record = Field.open(data.normalized).dataset.compute()
    step = xr.DataArray(np.arange(record.sizes["time"]), dims="time")
    seen = record["x"] / 1000 + record["y"] / 2000 < 20 + step
    Field(record.where(seen).transpose(*record["rate"].dims)).save(folder / "normalized.zarr")
    return replace(data, normalized=folder / "normalized.zarr")


# A batch of four clips, an epoch a step: its row of the history is what the step lost.
SHARED = {"batch_size": 4, "epochs": 6, "steps_per_epoch": 1}
EAGER = MODEL.model_copy(update={"revival_threshold": 0.9})  # several codes are dead in every batch


def pretrain_shared(data: Data, folder: Path) -> None:
    outputs = {"codebook": folder / "codebook.safetensors", "history": folder / "codebook.csv"}
    config = CODEBOOK.model_copy(update=SHARED)
    pretrain(config, CLIP, EAGER, MACHINE, **data.paths, **outputs, resume=folder / "first", report=lambda *_: None)


def train_shared(data: Data, folder: Path) -> None:
    outputs = {"checkpoint": folder / "model", "history": folder / "training.csv", "resume": folder / "second"}
    paths = data.paths | {"codebook": folder / "codebook.safetensors"}
    train(TRAIN.model_copy(update=SHARED), CLIP, EAGER, MACHINE, THRESHOLDS, **paths, **outputs, report=lambda *_: None)


def test_two_processes_lose_at_every_step_what_one_does(patchy: Data, tmp_path: Path) -> None:
    folders = one, two = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        folder.mkdir()
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from pathlib import Path\n"
        "from training import test_joint; from training.conftest import Data\n"
        "*data, folder = map(Path, sys.argv[2:]); getattr(test_joint, sys.argv[1])(Data(*data), folder)\n"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": "tests", "OMP_NUM_THREADS": "1"}
    for training in (pretrain_shared, train_shared):  # a launch each, as the stages: one store knows one group
        done = subprocess.run(
            [*launcher, str(script), training.__name__, *map(str, patchy.paths.values()), str(two)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        training(patchy, one)
    assert {path.name for path in two.iterdir()} == {"codebook.csv", "codebook.safetensors", "model", "training.csv"}
    for history in ("codebook.csv", "training.csv"):
        alone, together = (pd.read_csv(folder / history) for folder in folders)
        assert len(alone) == SHARED["epochs"]
        np.testing.assert_allclose(together["loss"], alone["loss"], rtol=0, atol=1e-5, err_msg=history)
        for name in alone:
            # A latent as near to one code as to another is counted for either: rounding decides.
            rtol = 0.02 if name == "validation_codebook_perplexity" else 1e-3
            np.testing.assert_allclose(together[name], alone[name], rtol=rtol, atol=1e-5, err_msg=f"{history}, {name}")
    alone_book, together_book = (load_checkpoint(folder / "codebook.safetensors").tensors for folder in folders)
    torch.testing.assert_close(together_book["codebook.codes"], alone_book["codebook.codes"], rtol=0, atol=1e-4)
