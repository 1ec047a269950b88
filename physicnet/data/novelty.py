"""How much has come since the last training."""

import json
from pathlib import Path

from physicnet.fields import Field


def frames_since(fields: Path, statistics: Path) -> int:
    """Frames of a record that came after it was last split, of which no part of training, validation or test holds any.

    `fields` is the record and `statistics` what `physicnet normalize` wrote of it then. A record that has become
    shorter counts less than none.
    """
    splits = json.loads(statistics.read_text(encoding="utf-8"))["splits"]
    last = max(stop for spans in splits.values() for _, stop in spans)
    return Field.open(fields).shape[0] - int(last)
