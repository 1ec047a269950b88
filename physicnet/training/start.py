"""What a warm start needs: the weights of an earlier training, if they mean here what they meant there.

Weights hold for the variables, transforms, sizes, time step and grid that they were learned with; all of these must
agree; so must the number of leads of a model that draws, whose weights are of leads. What need not: the time and place
of the data, the size of the frame and of the windows, the number of leads of other models, and mean and deviation of
the standardisation, which are those of the new training part. A weight learned with mean μ and
deviation σ sees, for the same physical value, an input shifted by (μ - μ') / σ' and stretched by σ / σ' where the new
ones are μ' and σ'. The memory is fitted anew and so knows nothing of this; for all else it is the first thing that
training has to make up for.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from physicnet.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from physicnet.config import InitConfig
from physicnet.data.spacing import Spacing, compare_spacing
from physicnet.digest import content_hash
from physicnet.model.physicnet import PhysicNet

# Of the section `model`, what decides how the codebook goes on learning, and not what its weights mean.
FREE = ("seed", "ema_decay", "revival_threshold")


def warm_start(net: PhysicNet, init: InitConfig, own: Mapping[str, Any]) -> list[str]:
    """Give `net` the weights of the checkpoint that `train.init_from` names.

    Args:
        net: a model of the sizes in params.yaml.
        init: which checkpoint.
        own: the metadata that a checkpoint of this training will carry.

    Returns:
        What the user should know of it, a line each.

    Raises:
        CheckpointError: if the file is missing, is another than was meant, is no model of joint training, or disagrees
            with data and parameters.
    """
    path = Path(init.checkpoint)
    stored = _read(path, init.sha256)
    told = _told(path, stored.metadata)
    spacing = compare_spacing(*([Spacing(**axis) for axis in each["grid"]] for each in (own, told)))
    differences = [*_differences(own, told), *spacing.differences]
    if differences:
        raise CheckpointError(
            f"training cannot start from {path} (train.init_from), which differs in\n  "
            + "\n  ".join(differences)
            + "\ntake a checkpoint that agrees, change params.yaml back, or write train.init_from: null"
        )
    _load(path, net, stored)
    return [f"training starts from {path}", *spacing.doubts, *_restandardised(own, told)]


def freeze_all_but_fusion(net: PhysicNet) -> None:
    """Let gradients reach only what weighs the levels against each other; the codebook learns without any."""
    net.requires_grad_(False)
    for level in (net.global_level, net.local_level):
        level.source.confidence.requires_grad_(True)


def _read(path: Path, sha256: str) -> Checkpoint:
    if not path.is_file():
        raise CheckpointError(
            f"train.init_from.checkpoint, {path}, does not exist; write the path of a checkpoint, seen from the folder "
            "of params.yaml (of an output of DVC, which removes it before the stage runs, take a copy), or "
            "train.init_from: null"
        )
    found = content_hash(path)
    if found != sha256.lower():
        raise CheckpointError(
            f"{path} is not the checkpoint that train.init_from means: its SHA-256 is {found}, not {sha256}; if it is "
            f"the right one, write train.init_from.sha256: {found}"
        )
    return load_checkpoint(path)


def _told(path: Path, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata after checking that they tell all that is compared."""
    missing = [key for key in ("model", "clip", "normalizer", "step_seconds", "grid") if key not in metadata]
    if missing:
        raise CheckpointError(
            f"{path} does not tell {', '.join(missing)}: it is no model of this version; train it again, or write "
            "train.init_from: null"
        )
    return metadata


def _differences(own: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    """Say what differs, a line each; all but the grid."""
    ours, theirs = _compared(own), _compared(told)
    return [
        f"{what}: {theirs.get(what, 'none')} there, {ours.get(what, 'none')} here"
        for what in dict.fromkeys([*ours, *theirs])
        if ours.get(what) != theirs.get(what)
    ]


def _compared(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must agree, by the name that a message gives it."""
    channels = {entry["variable"]: entry for entry in metadata["normalizer"]}
    kept = {"variables": ", ".join(channels), "clip.frames_in": metadata["clip"]["frames_in"]}
    kept |= {f"model.{name}": value for name, value in metadata["model"].items() if name not in FREE}
    if metadata["model"].get("drawing"):
        kept["clip.frames_out"] = metadata["clip"]["frames_out"]
    for name, entry in channels.items():
        kept |= {
            f"transforms of {name}": entry["transforms"],
            f"anomaly of {name}": None if entry["hours"] is None else f"against {len(entry['hours'])} hours of the day",
            f"standardize of {name}": entry["standardize"],
        }
    return kept | {"time step": f"{metadata['step_seconds']:g} s"}


def _load(path: Path, net: PhysicNet, stored: Checkpoint) -> None:
    weights = stored.weights
    expected = {name: tensor.shape for name, tensor in net.state_dict().items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    if found != expected:
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise CheckpointError(
            f"{path} (train.init_from) is no model of joint training of this version, e.g. {differing[0]}: "
            f"{found.get(differing[0])} instead of {expected.get(differing[0])}; take models/model.safetensors of a "
            "run of this version, or write train.init_from: null"
        )
    net.load_state_dict(weights)


def _restandardised(own: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    """Say how far the standardisation moved, where it is one for all cells."""
    pairs = zip(own["normalizer"], told["normalizer"], strict=True)
    return [
        f"{new['variable']}: its mean moved by {(new['mean'] - old['mean']) / old['std']:+.3f} standard deviations, "
        f"its deviation by a factor {new['std'] / old['std']:.3f}"
        for new, old in pairs
        if new["standardize"] == "global"
    ]
