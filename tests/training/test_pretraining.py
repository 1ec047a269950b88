from pathlib import Path

import pandas as pd
import pytest
import torch
from training.conftest import CLIP, CODEBOOK, MACHINE, MODEL, Data

from physicnet.checkpoint import load_checkpoint
from physicnet.data.dataset import Batch
from physicnet.machine import machine
from physicnet.model.autoencoder import Reconstruction
from physicnet.model.codebook import Quantized
from physicnet.training.losses import of_one
from physicnet.training.pretraining import Pretraining, _autoencoder, pretrain, reconstruction_error


def run(data: Data, folder: Path) -> Path:
    outputs = {"codebook": folder / "codebook.safetensors", "history": folder / "codebook.csv"}
    pretrain(CODEBOOK, CLIP, MODEL, MACHINE, **data.paths, **outputs, resume=folder / "resume", report=lambda *_: None)
    return outputs["codebook"]


def task_on(data: Data) -> Pretraining:
    model = _autoencoder(data.inputs.build(MODEL, CLIP), CODEBOOK, CLIP, MODEL)
    with machine(MACHINE) as on:
        return Pretraining(model, CLIP, CODEBOOK.commitment, data.inputs.validation, on)


def test_equal_seeds_give_equal_bytes_and_the_state_is_gone(data: Data, tmp_path: Path) -> None:
    first, second = run(data, tmp_path / "one"), run(data, tmp_path / "two")
    assert first.read_bytes() == second.read_bytes()
    assert not (tmp_path / "one" / "resume").exists()


def test_the_checkpoint_holds_the_encoders_and_the_codebook_alone(data: Data, tmp_path: Path) -> None:
    stored = load_checkpoint(run(data, tmp_path))
    assert {name.rpartition("encoder")[1] or name.partition(".")[0] for name in stored.tensors} == {
        "encoder",
        "codebook",
    }
    assert stored.tensors["codebook.initialized"]


def test_the_history_reports_usage_perplexity_and_reconstruction_of_every_epoch(data: Data, tmp_path: Path) -> None:
    run(data, tmp_path)
    history = pd.read_csv(tmp_path / "codebook.csv")
    assert history["epoch"].tolist() == [1, 2]
    for when in ("", "validation_"):
        assert history[f"{when}codebook_usage"].between(0, 1).all()
        assert history[f"{when}codebook_perplexity"].between(1, MODEL.num_codes).all()
    assert (
        history[["reconstruction_global", "reconstruction_local", "validation_global", "validation_local"]]
        .gt(0)
        .all(axis=None)
    )


@pytest.mark.parametrize("term", ["reconstruction_global", "reconstruction_local", "commitment"])
def test_each_term_moves_an_encoder(data: Data, term: str) -> None:
    task = task_on(data)
    first, second = (Batch(*(part[None] for part in data.inputs.clips[index])) for index in (0, 5))
    task.terms(first)
    task.settle()
    task.terms(second)[term].backward()
    level = task.model.net.local_level if term == "reconstruction_local" else task.model.net.global_level
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in level.encoder.parameters())


def test_reconstruction_error_counts_observed_cells_alone() -> None:
    indices = torch.zeros(1, 1, 1, dtype=torch.int64)
    nothing = Quantized(torch.zeros(1, 1, 1, 1), indices, torch.tensor(0.0), indices == 0, torch.zeros(1, 1, 1, 1))
    frames, truth = torch.tensor([1.0, 5.0]), torch.tensor([4.0, 99.0])
    shape = (1, 1, 1, 1, 2)
    level = Reconstruction(frames.view(shape), truth.view(shape), torch.tensor([1.0, 0.0]).view(shape), nothing)
    assert reconstruction_error(level, of_one).item() == 3
