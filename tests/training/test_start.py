"""A warm start takes the weights that were meant, where they mean the same, and adapts what it is told to adapt."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training.conftest import CLIP, INGEST, MODEL, Data
from training.test_joint import run

from physicnet.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from physicnet.config import InitConfig
from physicnet.digest import content_hash
from physicnet.training import joint
from physicnet.training.loop import Fitted
from physicnet.training.memory import first_memory
from physicnet.training.start import freeze_all_but_fusion, warm_start

ADAPTED = {
    "codebook.codes",
    "codebook.cluster_size",
    "codebook.embed_sum",
    "codebook.updates",
    "memory.learned",
    *(f"{level}_level.source.confidence.{kind}" for level in ("global", "local") for kind in ("weight", "bias")),
}


@pytest.fixture(scope="module")
def trained(data: Data, codebook: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(data, codebook, tmp_path_factory.mktemp("trained"))


def init(path: Path) -> InitConfig:
    return InitConfig(checkpoint=str(path), sha256=content_hash(path))


def altered(checkpoint: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The checkpoint with other metadata."""
    stored = load_checkpoint(checkpoint)
    change(stored.metadata)
    save_checkpoint(folder / "altered.safetensors", stored.tensors, stored.metadata)
    return folder / "altered.safetensors"


def start(data: Data, checkpoint: Path) -> list[str]:
    inputs = data.inputs
    return warm_start(inputs.build(MODEL, CLIP), init(checkpoint), inputs.metadata(MODEL, CLIP))


def test_training_starts_from_the_weights_of_the_checkpoint_and_a_memory_of_its_own_clips(
    data: Data, codebook: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: dict[str, torch.Tensor] = {}

    def fit(task: joint.Joint, *_: object, **__: object) -> Fitted:
        started.update({name: tensor.clone() for name, tensor in task.model.state_dict().items()})
        return Fitted(started, 1, [{"epoch": 1}])

    monkeypatch.setattr(joint, "fit", fit)
    run(data, codebook, tmp_path, init_from=init(trained))
    stored = load_checkpoint(trained).tensors
    assert {name for name in started if not torch.equal(started[name], stored[name])} == {"memory.learned"}
    fit = first_memory(data.inputs.build(MODEL, CLIP), data.inputs.clips, CLIP.frames_in)
    torch.testing.assert_close(started["memory.fitted"], fit.weights, rtol=0, atol=0)
    torch.testing.assert_close(started["memory.units"], fit.units, rtol=0, atol=0)
    assert not started["memory.learned"].any()
    assert not torch.equal(load_checkpoint(codebook).tensors["codebook.codes"], started["codebook.codes"])


def test_a_checkpoint_tells_its_time_step_and_the_spacing_of_its_grid(trained: Path, codebook: Path) -> None:
    for path in (trained, codebook):
        metadata = load_checkpoint(path).metadata
        assert metadata["step_seconds"] == 300.0
        assert metadata["grid"] == [
            {"axis": axis, "distance": 1000.0, "units": "m", "regular": True} for axis in ("y", "x")
        ]


def test_a_checkpoint_tells_how_to_read_observations_and_what_trained_it(trained: Path, data: Data) -> None:
    metadata = load_checkpoint(trained).metadata
    assert metadata["ingest"] == INGEST.rules()
    assert metadata["span"] == json.loads(data.statistics.read_text())["span"]
    assert metadata["grid_mapping"] is None
    assert metadata["place"] == [[0.0, 28_000.0], [0.0, 32_000.0]]


def test_another_checkpoint_than_the_one_meant_is_refused_with_the_hash_to_write(
    data: Data, codebook: Path, trained: Path, tmp_path: Path
) -> None:
    meant = InitConfig(checkpoint=str(trained), sha256="0" * 64)
    found = content_hash(trained)
    with pytest.raises(CheckpointError, match=f"is {found}, not {'0' * 64}; .* write train.init_from.sha256: {found}"):
        run(data, codebook, tmp_path, init_from=meant)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_checkpoint_is_refused(data: Data, codebook: Path, tmp_path: Path) -> None:
    missing = InitConfig(checkpoint="models/gone.safetensors", sha256="0" * 64)
    with pytest.raises(
        CheckpointError, match=r"train\.init_from\.checkpoint, models/gone\.safetensors, does not exist; "
    ):
        run(data, codebook, tmp_path, init_from=missing)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: told.update(step_seconds=600.0), "time step: 600 s there, 300 s here"),
        (lambda told: told["grid"][1].update(distance=2.0, units="km"), "of the columns: 2 km there, 1000 m here"),
        (lambda told: told["grid"][0].update(units="degrees"), "of the rows: 1000 degrees there, 1000 m here"),
        (lambda told: told["clip"].update(frames_in=4), "clip.frames_in: 4 there, 3 here"),
        (lambda told: told["clip"].update(frames_out=9), f"clip.frames_out: 9 there, {CLIP.frames_out} here"),
        (lambda told: told["model"].update(hidden=9), "model.hidden: 9 there, 8 here"),
        (lambda told: told["model"].update(flow_iterations=3), "model.flow_iterations: 3 there, 2 here"),
        (lambda told: told["normalizer"][0].update(variable="snow"), "variables: snow there, rate here"),
        (lambda told: told["normalizer"].append(told["normalizer"][0] | {"variable": "u"}), "rate, u there, rate here"),
        (
            lambda told: told["normalizer"][0].update(transforms=[{"kind": "power", "exponent": 0.5}]),
            r"transforms of rate: \[\{'exponent': 0.5, 'kind': 'power'\}\] there, \[\] here",
        ),
        (lambda told: told["normalizer"][0].update(hours=[True]), "anomaly of rate: against 1 hours of the day there"),
        (lambda told: told["normalizer"][0].update(standardize="per_cell"), "standardize of rate: per_cell there"),
    ],
)
def test_weights_that_mean_something_else_are_refused_by_name(
    data: Data, trained: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    other = altered(trained, tmp_path, change)
    with pytest.raises(CheckpointError, match=rf"(?s){message}.*write train\.init_from: null"):
        start(data, other)


def test_everything_that_differs_is_named_at_once(data: Data, trained: Path, tmp_path: Path) -> None:
    def change(told: dict[str, Any]) -> None:
        told["model"]["hidden"] = 7
        told["step_seconds"] = 60.0
        told["grid"][0]["distance"] = 5.0

    with pytest.raises(CheckpointError, match=r"(?s)model\.hidden: 7.*time step: 60 s.*grid spacing of the rows: 5 m"):
        start(data, altered(trained, tmp_path, change))


@pytest.mark.parametrize("key", ["model", "clip", "normalizer", "step_seconds", "grid"])
def test_a_checkpoint_that_does_not_tell_what_is_compared_is_refused(
    data: Data, trained: Path, tmp_path: Path, key: str
) -> None:
    silent = altered(trained, tmp_path, lambda told: told.pop(key))
    with pytest.raises(CheckpointError, match=f"does not tell {key}: it is no model of this version; train it again"):
        start(data, silent)


def test_the_checkpoint_of_the_codebook_is_no_model(data: Data, codebook: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"no model of joint training of this version, e\.g\. .*: None instead of"
    ):
        start(data, codebook)


def test_seed_window_and_the_codebooks_pace_need_not_agree(data: Data, trained: Path, tmp_path: Path) -> None:
    def change(told: dict[str, Any]) -> None:
        told["model"].update(seed=77, ema_decay=0.5, revival_threshold=0.1)
        told["window"] = 8

    assert start(data, altered(trained, tmp_path, change))[0].startswith("training starts from ")


def test_the_number_of_leads_need_not_agree_where_nothing_is_drawn(data: Data, tmp_path: Path) -> None:
    inputs, model = data.inputs, MODEL.model_copy(update={"drawing": 0})
    own, told = inputs.metadata(model, CLIP), inputs.metadata(model, CLIP.model_copy(update={"frames_out": 9}))
    save_checkpoint(tmp_path / "other.safetensors", inputs.build(model, CLIP).state_dict(), told)
    lines = warm_start(inputs.build(model, CLIP), init(tmp_path / "other.safetensors"), own)
    assert lines[0].startswith("training starts from ")


def test_the_user_is_told_of_what_could_not_be_compared_and_how_far_the_standardisation_moved(
    data: Data, trained: Path, tmp_path: Path
) -> None:
    def change(told: dict[str, Any]) -> None:
        channel = told["normalizer"][0]
        channel["mean"] -= channel["std"]  # half a deviation of the checkpoint's, which is twice as large
        channel["std"] *= 2
        told["grid"][0].update(distance=None, units=None, regular=False)

    lines = start(data, altered(trained, tmp_path, change))
    assert lines[1] == "the spacing of the rows (unknown there, 1000 m here) could not be compared"
    assert lines[2] == "rate: its mean moved by +0.500 standard deviations, its deviation by a factor 0.500"


def test_the_lines_are_shown(
    data: Data, codebook: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data, codebook, tmp_path, init_from=init(trained), epochs=1, steps_per_epoch=1)
    shown = capsys.readouterr().err
    assert f"training starts from {trained}" in shown
    assert "rate: its mean moved by +0.000 standard deviations, its deviation by a factor 1.000" in shown


def test_the_state_of_a_training_from_another_checkpoint_is_not_gone_on_from(
    data: Data, codebook: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = run(data, codebook, tmp_path / "other", seed=99)
    expected = run(data, codebook, tmp_path / "whole", init_from=init(trained)).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(joint, "finish", lambda _: None)
        run(data, codebook, tmp_path / "left", init_from=init(other))
    assert (tmp_path / "left" / "resume" / "state.safetensors").is_file()
    assert run(data, codebook, tmp_path / "left", init_from=init(trained)).read_bytes() == expected


def test_adapting_moves_codebook_memory_and_confidences_and_not_a_bit_of_anything_else(
    data: Data, codebook: Path, trained: Path, tmp_path: Path
) -> None:
    adapted = run(data, codebook, tmp_path, init_from=init(trained), learns="fusion")
    before, after = load_checkpoint(trained).weights, load_checkpoint(adapted).weights
    assert before.keys() == after.keys()
    assert {name for name in before if before[name].numpy().tobytes() != after[name].numpy().tobytes()} == ADAPTED
    assert after["codebook.updates"] > before["codebook.updates"]
    fit = first_memory(data.inputs.build(MODEL, CLIP), data.inputs.clips, CLIP.frames_in)
    torch.testing.assert_close(after["memory.fitted"], fit.weights, rtol=0, atol=0)
    torch.testing.assert_close(after["memory.units"], fit.units, rtol=0, atol=0)
    assert not after["memory.learned"].any()


def test_only_confidences_ask_for_gradients_once_all_else_is_frozen(data: Data) -> None:
    net = data.inputs.build(MODEL, CLIP)
    freeze_all_but_fusion(net)
    learned = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert learned == {name for name in ADAPTED if "confidence" in name}
