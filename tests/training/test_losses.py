import numpy as np
import pytest
import torch
from training.conftest import CLIP

from physicnet.data.dataset import Batch
from physicnet.model.windows import cut
from physicnet.normalization import Normalizer, Standardization
from physicnet.training.losses import mirror, of_one, prediction_error, rescale, split_missing

UNITS = Normalizer((Standardization("x", (), mean=1.0, std=2.0),))


def frames(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, 1, 1, -1)


def test_prediction_error_by_hand() -> None:
    forecast, truth, weight = frames(1.0, 2.0, 9.0), frames(0.0, 4.0, -9.0), frames(1.0, 3.0, 0.0)
    by_hand = ((1 + 0.1 * 1) * 1 + (2 + 0.1 * 4) * 3) / 4
    assert prediction_error(forecast, truth, weight, squared=0.1, average=of_one).item() == pytest.approx(
        by_hand, rel=1e-5
    )


def test_prediction_error_is_zero_where_nothing_counts() -> None:
    assert prediction_error(frames(1.0), frames(5.0), frames(0.0), squared=0.1, average=of_one).item() == 0


def test_halves_of_a_batch_are_wrong_by_as_much_as_the_whole_on_average() -> None:
    """As processes that share a batch see it: their cells are not equally many."""
    forecast, truth = frames(1.0, 2.0, 9.0), frames(0.0, 4.0, 5.0)
    weights = frames(1.0, 0.0, 0.0), frames(0.0, 3.0, 1.0)
    whole = prediction_error(forecast, truth, weights[0] + weights[1], squared=0.1, average=of_one)
    mean = (weights[0] + weights[1]).sum() / 2
    halves = [prediction_error(forecast, truth, half, squared=0.1, average=lambda _: mean) for half in weights]
    assert torch.stack(halves).mean().item() == pytest.approx(whole.item())


def test_missing_values_become_zero_under_a_mask() -> None:
    values, observed = split_missing(torch.tensor([[[[[1.0, torch.nan]]]]]))
    assert values.flatten().tolist() == [1.0, 0.0]
    assert observed.flatten().tolist() == [1.0, 0.0]


@pytest.mark.parametrize("turn", range(8))
def test_mirrored_windows_stay_on_their_cells(turn: int) -> None:
    clip = torch.arange(2 * 3 * 7 * 7.0).view(2, 3, 1, 7, 7)
    batch = Batch(clip, torch.tensor([[[0, 4], [2, 1]], [[3, 3], [4, 0]]]))
    turned = mirror(batch, turn, 3)
    before, after = cut(batch.clip, batch.windows, 3), cut(turned.clip, turned.windows, 3)
    assert torch.equal(before.flatten(start_dim=3).sort().values, after.flatten(start_dim=3).sort().values)


def test_the_eight_turns_differ() -> None:
    batch = Batch(torch.arange(49.0).view(1, 1, 1, 7, 7), torch.zeros(1, 1, 2, dtype=torch.int64))
    assert len({tuple(mirror(batch, turn, 3).clip.flatten().tolist()) for turn in range(8)}) == 8


def test_oblong_views_are_not_transposed() -> None:
    batch = Batch(torch.rand(1, CLIP.frames, 1, 5, 7), torch.zeros(1, 1, 2, dtype=torch.int64))
    assert mirror(batch, 4, 3).clip.shape == batch.clip.shape
    assert torch.equal(mirror(batch, 4, 3).clip, batch.clip)


def test_rescaled_clips_are_as_many_times_stronger() -> None:
    batch = Batch(torch.tensor([0.5, torch.nan]).view(2, 1, 1, 1, 1), torch.zeros(2, 1, 2, dtype=torch.int64))
    stronger = rescale(batch, UNITS, np.array([3.0, 1.0]))
    assert stronger.clip[0].item() == pytest.approx((3 * (0.5 * 2 + 1) - 1) / 2)
    assert stronger.clip[1].isnan().all()
