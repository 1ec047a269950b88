import json

import numpy as np
import pytest
from verification.filings import CLIP

from physicnet.config import DriftConfig
from physicnet.data.synthetic import Uniform, advected_field
from physicnet.evaluation.training_part import TrainingPart
from physicnet.fields import DataError, Field
from physicnet.verification import drift

CONFIG = DriftConfig(hours=24.0, beyond_range=0.01, missing=0.1, codes=0.35, retrain=True)
FIELD = advected_field(30, 24, 32, flow=Uniform(1.0, 0.5))
TRAINING = TrainingPart(FIELD, [[0, 10], [20, 30]], CLIP)


class Thresholds:
    """Reads the code 0 from coarse cells of little rain, and 1 from others."""

    def read_codes(self, past: Field) -> np.ndarray:
        assert past.shape[0] == CLIP.frames_in
        last = past.frames(1, 2)[0, 0]
        blocks = np.nan_to_num(last).reshape(6, 4, 8, 4).mean(axis=(1, 3))
        return (blocks > 1.0).astype(int)


def profiled(field: Field) -> list[drift.Finding]:
    model = Thresholds()
    training = drift.profile(model, drift.training_clips(TRAINING, CLIP.frames_in))
    clips = (field.isel(start, start + 2) for start in range(8))
    return drift.compare(training, drift.profile(model, clips, training.bounds), CONFIG)


def flagged(field: Field) -> list[str]:
    return [finding.what.split(",")[0] for finding in profiled(field) if finding.is_flagged]


def test_frames_of_the_training_part_alone_are_looked_at_each_with_what_a_forecast_starts_from() -> None:
    clips = list(drift.training_clips(TRAINING, CLIP.frames_in))
    assert {clip.shape[0] for clip in clips} == {CLIP.frames_in}
    minutes = [int((clip.times[-1] - FIELD.times[0]) / np.timedelta64(5, "m")) for clip in clips]
    assert minutes == [*range(1, 10), *range(21, 30)]


def test_what_is_like_in_training_is_not_flagged() -> None:
    assert flagged(FIELD.isel(10, 20)) == []


def test_values_beyond_the_range_of_training_are_flagged() -> None:
    heavy = FIELD.dataset * 3
    heavy["rate"].attrs = FIELD.dataset["rate"].attrs
    range_of_rate, *_ = profiled(Field(heavy))
    assert range_of_rate.is_flagged
    assert range_of_rate.training < CONFIG.beyond_range < range_of_rate.now
    assert range_of_rate.what.startswith("share of rate outside")


def test_missing_cells_are_flagged() -> None:
    dataset = FIELD.dataset.copy(deep=True)
    dataset["rate"][:, :6] = np.nan
    assert flagged(Field(dataset)) == ["share of cells without rate"]
    finding = profiled(Field(dataset))[1]
    assert (finding.training, finding.now, finding.amount) == (0.0, 0.25, 0.25)


def test_other_codes_are_flagged() -> None:
    dry = FIELD.dataset.where(FIELD.dataset["rate"] < 1.0, 1.0).assign_attrs(FIELD.dataset.attrs)
    dry["rate"].attrs = FIELD.dataset["rate"].attrs
    assert flagged(Field(dry)) == ["perplexity of the codes; share of cells that would need another"]


def test_frames_that_the_model_does_not_take_are_flagged() -> None:
    class Strict(Thresholds):
        def read_codes(self, past: Field) -> np.ndarray:
            if (past.frames(1, 2) < 0).any():
                raise DataError("a value below zero")
            return super().read_codes(past)

    negative = FIELD.dataset.copy(deep=True)
    negative["rate"][3, 5, 5] = -1.0
    training = drift.profile(Strict(), drift.training_clips(TRAINING, CLIP.frames_in))
    now = drift.profile(Strict(), (Field(negative).isel(start, start + 2) for start in range(8)), training.bounds)
    (refused,) = [each for each in drift.compare(training, now, CONFIG) if "does not take" in each.what]
    assert (refused.training, refused.now, refused.is_flagged) == (0.0, 0.125, True)


def test_the_distance_is_what_has_to_move() -> None:
    assert drift.distance({0: 10, 1: 30}, {0: 1, 1: 3}) == 0.0
    assert drift.distance({0: 1}, {1: 5}) == 1.0
    assert drift.distance({0: 3, 1: 1}, {0: 1, 1: 1}) == pytest.approx(0.25)


def test_the_perplexity_is_the_number_of_codes_where_all_are_equally_common() -> None:
    made = drift.profile(Thresholds(), drift.training_clips(TRAINING, CLIP.frames_in))
    even = drift.Profile(**(made.to_dict() | {"codes": {3: 5, 4: 5, 9: 5, 11: 0}}))
    assert even.perplexity == pytest.approx(3.0)


def test_a_profile_survives_json() -> None:
    made = drift.profile(Thresholds(), drift.training_clips(TRAINING, CLIP.frames_in))
    assert drift.Profile.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_nothing_to_look_at_is_said() -> None:
    with pytest.raises(DataError, match="no frame of which a profile could be made"):
        drift.profile(Thresholds(), [])
