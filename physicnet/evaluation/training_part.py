"""The training part of a record, as baselines are fitted to it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from physicnet.config import ClipConfig
from physicnet.fields import DataError, Field

HELD_OUT = 0.2  # share of the training part, its end, on which the free numbers of a method are chosen
Segments = Sequence[Sequence[int]]  # half-open ranges of frames, each free of time gaps


class TrainingPart(NamedTuple):
    """A record and the ranges of its frames that may be looked at; nothing else of it is read."""

    record: Field
    segments: Segments
    clip: ClipConfig

    @property
    def num_frames(self) -> int:
        """Frames of all ranges."""
        return sum(stop - start for start, stop in self.segments)

    def targets(self, before: int) -> list[int]:
        """Return the frames that have `before` frames before them in the same range."""
        return [frame for start, stop in self.segments for frame in range(start + before, stop)]

    def halves(self) -> tuple["TrainingPart", "TrainingPart"]:
        """Split in time into what is fitted and what choices are made on: the last fifth, or a clip if that is longer.

        Of a part that does not hold two clips, each gets one half, and the clips to judge by are cut short.

        Raises:
            DataError: if a half has no more frames than a forecast starts from.
        """
        total, clip = self.num_frames, self.clip
        checked = max(round(HELD_OUT * total), min(clip.frames, total // 2))
        first, last = (self._cut(slice(0, total - checked)), self._cut(slice(total - checked, total)))
        longest = max((stop - start for start, stop in last), default=0)
        if longest <= clip.frames_in:
            raise DataError(
                f"the training part has {total} frames, in pieces of at most {longest} where choices are made, too few "
                f"to fit a linear forecast from {clip.frames_in} frames: add data, or raise normalize.train_fraction"
            )
        leads = min(clip.frames_out, longest - clip.frames_in)
        return self._replace(segments=first), TrainingPart(
            self.record, last, ClipConfig(frames_in=clip.frames_in, frames_out=leads)
        )

    def starts(self, most: int) -> list[int]:
        """Return the first frames of at most `most` whole clips, evenly spread."""
        frames = self.clip.frames
        every = [first for start, stop in self.segments for first in range(start, stop - frames + 1)]
        return every[:: max(1, -(-len(every) // most))]

    def _cut(self, part: slice) -> list[tuple[int, int]]:
        """The ranges that hold the frames number `part.start` to `part.stop` of all."""
        return list(self._pieces(part))

    def _pieces(self, part: slice) -> Iterator[tuple[int, int]]:
        passed = 0
        for start, stop in self.segments:
            low, high = max(part.start - passed, 0), min(part.stop - passed, stop - start)
            if low < high:
                yield start + low, start + high
            passed += stop - start
