"""Checkpoints come back as they were written, byte for byte the same, whole or not at all."""

import json
import os
import re
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from physicnet.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from physicnet.digest import content_hash

METADATA = {"model": {"channels": 3, "lr": 0.002}, "variables": ["rain_rate", "größe"], "mean": None, "best": True}


def make_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "weight": torch.randn(3, 5, generator=generator),
        "half": torch.randn(7, generator=generator).bfloat16(),
        "mask": torch.tensor([[True, False, True]]),
        "updates": torch.tensor(2**40),
        "double": torch.tensor([0.1, float("nan"), float("inf")], dtype=torch.float64),
        "empty": torch.zeros(0, 3),
    }


def assert_same_tensors(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name in expected:
        assert actual[name].dtype == expected[name].dtype
        torch.testing.assert_close(actual[name], expected[name], rtol=0, atol=0, equal_nan=True)


def test_tensors_and_metadata_come_back(tmp_path):
    save_checkpoint(tmp_path / "new" / "folder" / "model.safetensors", make_tensors(), METADATA)
    checkpoint = load_checkpoint(tmp_path / "new" / "folder" / "model.safetensors")
    assert_same_tensors(checkpoint.tensors, make_tensors())
    assert checkpoint.metadata == METADATA


def test_a_module_continues_from_its_checkpoint(tmp_path):
    original, restored = torch.nn.Linear(3, 5), torch.nn.Linear(3, 5)
    save_checkpoint(tmp_path / "model.safetensors", original.state_dict(), {})
    restored.load_state_dict(load_checkpoint(tmp_path / "model.safetensors").tensors)
    assert_same_tensors(restored.state_dict(), original.state_dict())


def test_tensors_that_need_gradients_are_not_contiguous_or_share_memory_come_back_apart(tmp_path):
    weight = torch.randn(4, 6, requires_grad=True)
    tensors = {"weight": weight, "tied": weight, "transposed": weight.T, "column": weight[:, 2]}
    tensors["channels_last"] = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    save_checkpoint(tmp_path / "model.safetensors", tensors, {})
    loaded = load_checkpoint(tmp_path / "model.safetensors").tensors
    assert_same_tensors(loaded, {name: tensor.detach() for name, tensor in tensors.items()})
    loaded["tied"].zero_()
    assert torch.equal(loaded["weight"], weight)


def test_bytes_depend_on_neither_file_name_nor_order(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", make_tensors(), METADATA)
    tensors, metadata = reversed(make_tensors().items()), reversed(METADATA.items())
    save_checkpoint(tmp_path / "other.bin", dict(tensors), dict(metadata))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "other.bin").read_bytes()
    assert content_hash(tmp_path / "a.safetensors") == content_hash(tmp_path / "other.bin")


def test_content_hash_is_that_of_the_bytes(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", make_tensors(), METADATA)
    assert content_hash(tmp_path / "a.safetensors") == sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest()
    before = content_hash(tmp_path / "a.safetensors")
    save_checkpoint(tmp_path / "a.safetensors", make_tensors(), METADATA | {"best": False})
    assert content_hash(tmp_path / "a.safetensors") != before


def test_a_checkpoint_replaces_the_one_before_and_leaves_nothing_else(tmp_path):
    save_checkpoint(tmp_path / "model.safetensors", make_tensors(), {"epoch": 1})
    older = load_checkpoint(tmp_path / "model.safetensors")
    save_checkpoint(tmp_path / "model.safetensors", {"weight": torch.zeros(3, 5)}, {"epoch": 2})
    assert load_checkpoint(tmp_path / "model.safetensors").metadata == {"epoch": 2}
    assert_same_tensors(older.tensors, make_tensors())
    assert list(tmp_path.iterdir()) == [tmp_path / "model.safetensors"]


def test_a_failed_write_leaves_the_file_of_before(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, make_tensors(), {"epoch": 1})

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {}, {"epoch": 2})
    assert load_checkpoint(path).metadata == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_disk_before_the_file_takes_its_place(tmp_path, monkeypatch):
    happened = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (happened.append("fsync"), fsync(descriptor))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (happened.append("replace"), replace(self, to))[1])
    save_checkpoint(tmp_path / "model.safetensors", {}, {})
    assert happened == ["fsync", "replace"]


@pytest.mark.parametrize("value", [float("nan"), Path("data"), torch.zeros(1)])
def test_metadata_that_json_does_not_know_is_refused(tmp_path, value):
    with pytest.raises(CheckpointError, match=r"model\.safetensors: the metadata cannot be written as JSON"):
        save_checkpoint(tmp_path / "model.safetensors", {}, {"value": value})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=re.escape(f"{tmp_path / 'none.safetensors'} does not exist")):
        load_checkpoint(tmp_path / "none.safetensors")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist or is no file"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not tensors at all, but long enough for a header", b"\x80\x04pickle"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a whole safetensors file"):
        load_checkpoint(tmp_path / "model.safetensors")


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, make_tensors(), METADATA)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match="is not a whole safetensors file"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "header",
    [
        None,
        {"format": "pt"},
        {"physicnet": "{"},
        {"physicnet": "[]"},
        {"physicnet": '{"format": 1}'},
        {"physicnet": '{"format": 1, "metadata": null}'},
    ],
)
def test_tensors_of_other_software_are_refused(tmp_path, header):
    save_file({"weight": torch.zeros(3)}, tmp_path / "model.safetensors", metadata=header)
    with pytest.raises(CheckpointError, match=r"model\.safetensors was not written by physicnet"):
        load_checkpoint(tmp_path / "model.safetensors")


def test_another_format_version_is_refused(tmp_path):
    entry = json.dumps({"format": 2, "metadata": {}})
    save_file({"weight": torch.zeros(3)}, tmp_path / "model.safetensors", metadata={"physicnet": entry})
    with pytest.raises(CheckpointError, match=r"has checkpoint format 2, this version of physicnet reads 1"):
        load_checkpoint(tmp_path / "model.safetensors")
