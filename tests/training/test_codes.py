import pytest
import torch

from physicnet.model.codebook import Seen
from physicnet.training.codes import CodeCount


def seen(indices: list[int], valid: list[bool]) -> Seen:
    return Seen(torch.zeros(1, 3, 1, len(indices)), torch.tensor([[indices]]), torch.tensor([[valid]]))


def test_codes_of_missing_data_are_not_counted() -> None:
    count = CodeCount(4)
    count.add(seen([0, 0, 3], [True, True, False]), seen([1, 1, 2], [True, True, False]))
    assert count.take() == {"codebook_usage": 0.5, "codebook_perplexity": pytest.approx(2.0)}


def test_the_count_starts_anew_once_it_was_taken() -> None:
    count = CodeCount(4)
    count.add(seen([0, 1], [True, True]))
    count.take()
    count.add(seen([2], [True]))
    assert count.take("validation_") == {
        "validation_codebook_usage": 0.25,
        "validation_codebook_perplexity": pytest.approx(1.0),
    }
