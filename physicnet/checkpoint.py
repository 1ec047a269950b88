"""Weights and what they need to be understood, in one file that loads without executing anything.

A checkpoint is a safetensors file. Its header carries one entry, "physicnet": the format version and the metadata
(configuration, normalisation statistics, ...) as JSON. The same content gives the same bytes, whatever the file is
called and in whatever order the content was put together, so DVC sees a change only where there is one.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

ENTRY = "physicnet"
FORMAT = 1
MAPS = "normalizer/"  # begins the names of the tensors that belong to the normalizer and not to the network
CALIBRATION = "calibration/"  # and of those that tell how far forecasts err


class CheckpointError(ValueError):
    """A checkpoint cannot be read or written; the message names the file and the remedy."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds: tensors by name, and the metadata as JSON gives it back."""

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The tensors that belong to the network."""
        return {name: tensor for name, tensor in self.tensors.items() if not name.startswith((MAPS, CALIBRATION))}

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix`, without it."""
        return {name.removeprefix(prefix): each for name, each in self.tensors.items() if name.startswith(prefix)}


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all: a crash leaves the file of before.

    Tensors that share memory are written one by one and come back apart. Of metadata, what JSON knows comes back:
    tuples as lists, keys as strings.

    Raises:
        CheckpointError: if the metadata is not JSON (NaN and infinity are not).
    """
    try:
        entry = json.dumps({"format": FORMAT, "metadata": metadata}, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the metadata cannot be written as JSON: {error}") from error
    apart = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    # One entry only: safetensors writes several in an order that changes from run to run.
    _replace(path, save(apart, metadata={ENTRY: entry}))


def load_checkpoint(path: Path, device: str = "cpu") -> Checkpoint:
    """Read a checkpoint, its tensors to `device`.

    Raises:
        CheckpointError: if the file is missing, broken, or not a checkpoint of this format.
    """
    _require(path)
    try:
        with safe_open(path, framework="pt", device=device) as file:
            metadata = _parse(path, file.metadata())
            # Copies: the file may be replaced while the tensors live.
            tensors = {name: file.get_tensor(name).clone() for name in sorted(file.keys())}
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}); make it again") from error
    return Checkpoint(tensors, metadata)


def _require(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist or is no file; run the stage that writes it")


def _parse(path: Path, header: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the metadata of a header after checking that it is ours and of this format."""
    try:
        entry = json.loads((header or {})[ENTRY])
        version, metadata = entry["format"], dict(entry["metadata"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} was not written by physicnet: its header has no such entry") from error
    if version != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {version}, this version of physicnet reads {FORMAT}; train again"
        )
    return metadata


def _replace(path: Path, content: bytes) -> None:
    """Put a file in its place in one step, once its content is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
