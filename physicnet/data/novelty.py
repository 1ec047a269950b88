"""How much has come since the last training."""

import json
from pathlib import Path

import numpy as np

from physicnet.fields import Field


def frames_since(fields: Path, statistics: Path) -> int:
    """Frames of a record that came after it was last split, of which no part of training, validation or test holds any.

    `fields` is the record and `statistics` what `physicnet normalize` wrote of it then. A record that has become
    shorter counts less than none.
    """
    return Field.open(fields).shape[0] - _last(statistics)


def trained_until(fields: Path, statistics: Path) -> np.datetime64:
    """The time of the last frame that the record had when it was last split; arguments as of `frames_since`."""
    times = Field.open(fields).times
    return np.datetime64(times[min(_last(statistics), len(times)) - 1])


def _last(statistics: Path) -> int:
    """The number of frames up to the end of the last part."""
    splits = json.loads(statistics.read_text(encoding="utf-8"))["splits"]
    return int(max(stop for spans in splits.values() for _, stop in spans))
