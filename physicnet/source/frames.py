"""Folders of pictures as clips: which files belong to which clip, and in which order."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from physicnet.fields import DataError

PLACEHOLDERS = {"{clip}": r"(?P<clip>[^/]+?)", "{frame}": r"(?P<frame>\d+)", "*": "[^/]*"}
EXAMPLE = "write it as '{clip}/{frame}.png' or 'clip_{clip}/frame_{frame}.*'"


@dataclass(frozen=True)
class Clip:
    """A clip's name, and the paths of its pictures in order."""

    name: str
    pictures: Sequence[Path]


def find(folder: Path, pattern: str, num_frames: int | None) -> list[Clip]:
    """Return the clips of a folder, in the order of their names, numbers in these by their value.

    Args:
        folder: of the pictures.
        pattern: of their paths in it. `{clip}` stands for the clip's name, `{frame}` for the number of the frame, and
            `*` for anything, each within the name of a folder or file.
        num_frames: the first of each clip that are taken; None: all, of which every clip must have equally many.

    Raises:
        DataError: if nothing is of this pattern, a frame is missing or there twice, or a clip is too short.
    """
    found: dict[str, dict[int, Path]] = defaultdict(dict)
    expression = _expression(pattern)
    for path in sorted(folder.rglob("*")):
        match = expression.fullmatch(path.relative_to(folder).as_posix())
        if match and path.is_file():
            there = found[match["clip"]].setdefault(int(match["frame"]), path)
            if there != path:
                raise DataError(
                    f"{there} and {path} are both frame {match['frame']} of clip {match['clip']}; remove one"
                )
    if not found:
        raise DataError(f"{folder} holds no file of the pattern {pattern!r}; {EXAMPLE}")
    clips = [_clip(name, found[name]) for name in sorted(found, key=_natural)]
    return _equally_long(clips, num_frames)


def _expression(pattern: str) -> re.Pattern[str]:
    for placeholder in ("{clip}", "{frame}"):
        if pattern.count(placeholder) != 1:
            raise DataError(f"the pattern {pattern!r} must have {placeholder} once; {EXAMPLE}")
    parts = re.split(r"(\{clip\}|\{frame\}|\*)", pattern)
    return re.compile("".join(PLACEHOLDERS.get(part, re.escape(part)) for part in parts))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(number or 0), text) for number, text in re.findall(r"(\d+)|(\D+)", name)]


def _clip(name: str, frames: dict[int, Path]) -> Clip:
    first, last = min(frames), max(frames)
    for number in range(first, last):
        if number not in frames:
            raise DataError(
                f"clip {name} has no frame {number}, but others up to {frames[last]}: time would leap there; add it, "
                "or leave the clip out"
            )
    return Clip(name, [frames[number] for number in range(first, last + 1)])


def _equally_long(clips: list[Clip], num_frames: int | None) -> list[Clip]:
    wanted = len(clips[0].pictures) if num_frames is None else num_frames
    for clip in clips:
        num = len(clip.pictures)
        if num < wanted or (num_frames is None and num != wanted):
            of = f"{wanted} are wanted" if num_frames else f"clip {clips[0].name} has {wanted}"
            raise DataError(
                f"clip {clip.name} ({clip.pictures[0].parent}) has {num} frames, and {of}; leave it out, or take fewer "
                "of each (--frames)"
            )
    return [Clip(clip.name, clip.pictures[:wanted]) for clip in clips]


def digest(clips: Sequence[Clip]) -> str:
    """Return a hash of the names and sizes of all pictures: their content is not read."""
    told = (f"{path.parent.name}/{path.name} {path.stat().st_size}\n" for clip in clips for path in clip.pictures)
    return sha256("".join(told).encode()).hexdigest()
