"""Clips of pictures, such as those of a fire that Chen et al. filmed (2022, doi:10.1038/s43588-022-00281-6).

Theirs are folders `0`, `1`, ... of pictures `0.jpg`, `1.jpg`, ...: of the fire 999 clips of 60 frames, 24 a second. The
clips of their parts are lists in `datainfo/fire/data_split_dict_1.json` of their code.
"""

import json
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from physicnet.fields import DataError
from physicnet.source import frames, sequences
from physicnet.source.frames import Clip
from physicnet.source.pictures import Form, size_of
from physicnet.source.sequences import Kind, Written

SPLIT_KEYS = {"train": "train", "validation": "val", "test": "test"}
REFERENCES = "Chen et al., 2022, doi:10.1038/s43588-022-00281-6, if the pictures are theirs"


def write(
    folder: Path,
    pictures: Path,
    *,
    pattern: str,
    num_frames: int | None,
    step: float,
    size: tuple[int, int] | None,
    in_colour: bool,
    split: Path | None,
    per_file: int,
) -> Written:
    """Write clips of pictures as sequences, in the order of the clips' names, or of the parts if there are any.

    Args:
        folder: of the NetCDF files.
        pictures: folder of the clips.
        pattern: of the pictures' paths in it; see `frames.find`.
        num_frames: of each clip; None: all.
        step: seconds from frame to frame.
        size: rows and columns to which the pictures are reduced, by area means; None: as they are.
        in_colour: three variables, or one of grey.
        split: a file of lists `train`, `val` and `test` of clips' names, those of which make the parts; or None.
        per_file: clips of a file.

    Raises:
        DataError: if clips or pictures are missing, broken or of different sizes.
    """
    clips, parts = _divided(frames.find(pictures, pattern, num_frames), split)
    original = size_of(clips[0].pictures[0])
    form = Form(original, size or original, in_colour)

    def make(numbers: range) -> Mapping[str, UInt8[np.ndarray, "s t h w"]]:
        values = np.stack([_read(clips[number], form) for number in numbers])  # s t h w c
        return {name: values[..., channel] for channel, name in enumerate(_variables(form))}

    settings = {"pictures": frames.digest(clips), "size": form.size, "in_colour": in_colour, "step": step}
    kind = Kind(
        name="frames",
        title=f"Clips of pictures: {pictures.resolve().name}",
        references=REFERENCES,
        license="that of the pictures",
        variables={name: {"units": "1", "long_name": f"{name}, 0 to 255"} for name in _variables(form)},
        settings=settings,
        num_frames=len(clips[0].pictures),
        step=step,
        y=np.arange(form.size[0], dtype=np.float64),
        x=np.arange(form.size[1], dtype=np.float64),
        parts=parts,
        labels={"clip": [clip.name for clip in clips]},
        is_packed=True,
    )
    return sequences.write(folder, kind, len(clips), make, per_file=per_file)


def _read(clip: Clip, form: Form) -> UInt8[np.ndarray, "t h w c"]:
    return np.stack([form.read(path) for path in clip.pictures])


def _variables(form: Form) -> tuple[str, ...]:
    return ("red", "green", "blue") if form.in_colour else ("luminance",)


def _divided(clips: list[Clip], split: Path | None) -> tuple[list[Clip], Mapping[str, int]]:
    """Return the clips part by part, and the number in each; without a split all of them, and no parts."""
    if split is None:
        return clips, {}
    lists = _read_split(split)
    named = {clip.name: clip for clip in clips}
    for name in chain(*lists.values()):
        if name not in named:
            raise DataError(f"{split} names the clip {name}, which is not there; add it, or take it out of the lists")
    return [named[name] for name in chain(*lists.values())], {part: len(names) for part, names in lists.items()}


def _read_split(path: Path) -> dict[str, list[str]]:
    try:
        told = json.loads(path.read_text())
        lists = {part: [str(name) for name in told[key]] for part, key in SPLIT_KEYS.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no JSON of lists train, val and test of clips' names ({error!r})") from error
    names = list(chain(*lists.values()))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path} has the clip {twice} twice; a clip belongs to one part")
    return lists
