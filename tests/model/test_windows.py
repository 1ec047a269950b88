"""Cutting against slices, pasting against laws."""

import pytest
import torch
from drifting import noise
from torch import Tensor

from physicnet.model.windows import FULL, cells, cut, paste

H, W, SIZE = 21, 27, 6


def corners_of(*pairs: tuple[int, int], batch: int = 1) -> Tensor:
    return torch.tensor(pairs).expand(batch, len(pairs), 2)


def covering(height: int, width: int) -> Tensor:
    """Corners of windows of SIZE that cover a frame and overlap by at least half."""
    rows, cols = ([*range(0, length - SIZE, SIZE // 2), length - SIZE] for length in (height, width))
    return torch.cartesian_prod(torch.tensor(rows), torch.tensor(cols))


def test_cells_count_row_by_row():
    found = cells(corners_of((2, 3)), 2, 10)
    assert found.tolist() == [[[[23, 24], [33, 34]]]]


@pytest.mark.parametrize("axes", [(), (3,), (2, 3)])
def test_windows_are_slices_of_one_frame_after_the_other(axes):
    frames = noise(2, *axes, H, W)
    corners = torch.tensor([[[0, 0], [15, 21], [4, 9]], [[7, 2], [3, 20], [15, 0]]])
    windows = cut(frames, corners, SIZE)
    assert windows.shape == (6, *axes, SIZE, SIZE)
    for b in range(2):
        for n, (row, col) in enumerate(corners[b].tolist()):
            assert torch.equal(windows[3 * b + n], frames[b, ..., row : row + SIZE, col : col + SIZE])


@pytest.mark.parametrize("size", [(6, 6), (21, 27), (13, 6), (8, 31)])
@pytest.mark.parametrize("axes", [(3,), (2, 3)])
def test_what_was_cut_by_windows_that_cover_is_pasted_without_seams(size, axes):
    frames = noise(2, *axes, *size)
    corners = covering(*size).expand(2, -1, 2)
    blend, _ = paste(cut(frames, corners, SIZE), corners, size)
    torch.testing.assert_close(blend, frames)


@pytest.mark.parametrize("window", [2, 5, 32, 64, 96])
def test_a_lone_window_of_any_size_is_pasted_as_it_is(window):
    frames, corners = noise(1, 2, window, window), corners_of((0, 0))
    torch.testing.assert_close(paste(frames, corners, (window, window))[0], frames)


def paste_by_hand(windows: Tensor, corners: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Means of the windows' values (n c s s), weighted by how far inside them a cell lies, and the sum of weights."""
    side = windows.shape[-1]
    edge = 0.5 - 0.5 * torch.cos(2 * torch.pi * (torch.arange(side) + 0.5) / side)
    total, weight = torch.zeros(windows.shape[1], *size), torch.zeros(size)
    for window, (row, col) in zip(windows, corners.tolist(), strict=True):
        inside = (..., slice(row, row + side), slice(col, col + side))
        total[inside] += window * edge[:, None] * edge
        weight[inside] += edge[:, None] * edge
    return torch.where(weight > 0, total / weight.clamp(min=1e-9), 0.0), weight


def test_overlapping_windows_are_blended_by_their_weights():
    corners = torch.tensor([[[0, 0], [2, 3], [2, 3]], [[5, 5], [9, 1], [4, 6]]])
    windows = noise(6, 2, SIZE, SIZE)
    blend, presence = paste(windows, corners, (17, 13))
    for b in range(2):
        expected, weight = paste_by_hand(windows[3 * b : 3 * b + 3], corners[b], (17, 13))
        torch.testing.assert_close(blend[b], expected)
        torch.testing.assert_close(presence[b, 0], (weight / FULL).clamp(max=1))


def test_windows_are_present_where_they_cover_and_nowhere_else():
    corners = covering(H, W)[None]
    _, presence = paste(noise(corners.shape[1], 1, SIZE, SIZE), corners, (H, W))
    assert (presence[..., 2:-2, 2:-2] == 1).all()
    assert presence.min() > 0
    _, presence = paste(noise(1, 1, SIZE, SIZE), corners_of((8, 11)), (H, W))
    outside = torch.ones(H, W)
    outside[8:14, 11:17] = 0
    assert (presence[0, 0] > 0).equal(outside == 0)
    assert (presence[0, 0, 10:12, 13:15] == 1).all()


def test_gradients_pass_through_cutting_and_pasting():
    frames = noise(1, 2, H, W).requires_grad_()
    corners = corners_of((1, 2), (3, 4))
    paste(cut(frames, corners, SIZE), corners, (H, W))[0].sum().backward()
    covered = torch.zeros(H, W)
    covered[1:7, 2:8] = covered[3:9, 4:10] = 1
    torch.testing.assert_close(frames.grad[0], covered.expand(2, H, W))
