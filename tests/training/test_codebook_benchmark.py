import importlib
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from training.conftest import CLIP, CODEBOOK, MACHINE, MODEL, TRAIN, Data

from physicnet.config import load_params

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return importlib.import_module("codebook")


@pytest.fixture
def params():
    own = {"clip": CLIP, "model": MODEL, "codebook": CODEBOOK, "train": TRAIN, "machine": MACHINE}
    return load_params(ROOT / "params.yaml").model_copy(update=own)


@pytest.fixture
def there(benchmark: ModuleType, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(benchmark, "DATA", data.normalized.parent)
    monkeypatch.setattr(benchmark, "STATE", tmp_path / "state")
    return tmp_path


def test_every_seed_has_every_width_with_every_number_of_codes_and_without(benchmark: ModuleType) -> None:
    runs = list(benchmark.grid([4, 8], [16, 32], 2))
    assert len(runs) == len(set(runs)) == 2 * 2 * 3
    assert [(run.code_dim, run.num_codes) for run in runs if run.seed == 1] == [
        (4, 16), (4, 32), (4, 0), (8, 16), (8, 32), (8, 0),
    ]  # fmt: skip


def test_a_run_changes_sizes_seeds_and_lengths_and_nothing_else(benchmark: ModuleType, params) -> None:
    chosen = benchmark.Run(4, 9, 5).of(params, 8, 20)
    assert (chosen.model.code_dim, chosen.model.num_codes) == (4, 9)
    assert chosen.model.seed == chosen.codebook.seed == chosen.train.seed == 5
    assert chosen.codebook.epochs * chosen.codebook.steps_per_epoch == 8
    assert chosen.train.epochs * chosen.train.steps_per_epoch == 20
    back = {"code_dim": MODEL.code_dim, "num_codes": MODEL.num_codes, "seed": MODEL.seed}
    assert chosen.model.model_copy(update=back) == MODEL
    assert chosen.clip == params.clip


def test_a_run_without_codes_only_lets_the_latents_pass(benchmark: ModuleType, params) -> None:
    chosen = benchmark.Run(MODEL.code_dim, 0, MODEL.seed).of(params, 8, 20)
    assert chosen.model == MODEL.model_copy(update={"quantize": False})


def test_a_sweep_learns_with_codes_and_without_and_makes_nothing_twice(
    benchmark: ModuleType, params, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = list(benchmark.grid([6], [5], 1))
    made = benchmark.sweep(runs, params, steps=2, joint_steps=2, target=there / "table.csv")
    assert made["num_codes"].tolist() == [5, 0]
    assert made["validation_codebook_perplexity"][0] > 1
    assert pd.isna(made["validation_codebook_perplexity"][1])
    assert made[["validation_loss", "joint_validation_loss"]].gt(0).all(axis=None)
    assert made["validation_loss"].nunique() == 2
    monkeypatch.setattr(benchmark, "measure", lambda *_, **__: pytest.fail("made twice"))
    again = benchmark.sweep(runs, params, steps=2, joint_steps=2, target=there / "table.csv")
    assert again["key"].tolist() == made["key"].tolist()
    assert not list((there / "state").rglob("*.safetensors"))


def test_the_figure_has_a_line_per_width_and_the_error_without_codes(benchmark: ModuleType) -> None:
    rows = [
        {"code_dim": width, "num_codes": codes, "seed": seed, "validation_codebook_usage": 0.5}
        | {"validation_codebook_perplexity": codes / 2, "validation_loss": 1.0 + seed}
        for width in (4, 8)
        for codes in (16, 64, 0)
        for seed in (1, 2)
    ]
    panels = benchmark.draw(pd.DataFrame(rows)).axes
    labelled = [line for line in panels[2].lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in labelled] == ["D = 4", "D = 4, continuous", "D = 8", "D = 8, continuous"]
    assert labelled[0].get_xdata().tolist() == [16, 64]
    assert labelled[0].get_ydata().tolist() == [2.5, 2.5]
    assert labelled[1].get_ydata() == [2.5, 2.5]
