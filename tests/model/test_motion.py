"""The first flow against textures whose motion is known, and its parts by hand."""

import pytest
import torch
from drifting import drift, holes, noise, uniform
from torch import Tensor

from physicnet.model import motion
from physicnet.model.motion import estimate_flow, lucas_kanade, match, passing_flow, shrink

SIZE = (71, 83)


def error_of(flow: Tensor, velocity: tuple[float, float], where: Tensor | None = None) -> Tensor:
    """Length of what a flow misses a velocity by, at every cell or `where`."""
    error = (flow - uniform(velocity, flow.shape[-2:])).norm(dim=1)
    return error if where is None else error[where]


def whole(frames: Tensor) -> Tensor:
    return torch.ones_like(frames)


VELOCITIES = [(0.0, 0.0), (0.4, -0.3), (-0.3, 0.4), (3.0, 0.0), (0.0, -3.0), (15.0, 0.0), (0.0, 15.0), (-9.0, 12.0)]


@pytest.mark.parametrize("velocity", VELOCITIES)
def test_a_uniform_motion_is_found(velocity):
    frames = drift(velocity, 3, SIZE)
    error = error_of(estimate_flow(frames, whole(frames)), velocity)
    assert error.mean() < 0.12
    assert error.max() < 0.6


@pytest.mark.parametrize("velocity", [(0.4, -0.3), (3.0, -2.0), (-9.0, 12.0)])
def test_a_uniform_motion_is_found_through_holes(velocity):
    frames, observed = drift(velocity, 3, SIZE), holes(1, 3, 1, *SIZE, share=0.3)
    error = error_of(estimate_flow(frames * observed, observed), velocity)
    assert error.mean() < 0.2
    assert error.max() < 1.0


def disc(size: tuple[int, int], radius: float) -> Tensor:
    rows, cols = torch.meshgrid(*(torch.arange(float(length)) for length in size), indexing="ij")
    return (rows - size[0] / 2) ** 2 + (cols - size[1] / 2) ** 2 < radius**2


@pytest.mark.parametrize("velocity", [(0.0, 0.0), (0.4, -0.3), (3.0, -2.0), (-7.0, 5.0)])
def test_the_edge_of_coverage_is_no_motion(velocity):
    covered = disc(SIZE, 31)
    frames = drift(velocity, 3, SIZE)
    observed = covered.float().expand_as(frames)
    flow = estimate_flow((frames + 5) * observed, observed)  # the edge is far steeper than the texture
    error = error_of(flow, velocity, covered[None])
    assert error.mean() < 0.15
    assert error.max() < 0.7


def sector(start: float, size: tuple[int, int] = SIZE) -> Tensor:
    """0 in a sector of 50 degrees that begins at `start` degrees, seen from the middle; 1 elsewhere."""
    rows, cols = torch.meshgrid(*(torch.arange(float(length)) - length / 2 for length in size), indexing="ij")
    return ((torch.rad2deg(torch.atan2(rows, cols)) - start) % 360 >= 50).float()


@pytest.mark.parametrize("turn", [0.0, 30.0, 50.0])  # degrees from frame to frame
def test_a_missing_sector_that_stays_or_turns_is_no_motion(turn):
    frames = drift((0.0, 0.0), 4, SIZE) + 5
    observed = torch.stack([sector(turn * step) for step in range(4)])[None, :, None]
    flow = estimate_flow(frames * observed, observed)
    assert flow.abs().max() < 0.05
    assert passing_flow(frames * observed, observed, torch.zeros_like(flow)).abs().max() < 1e-4


def test_a_receding_edge_of_coverage_is_no_motion():
    frames = drift((0.0, 0.0), 4, SIZE) + 5
    column = torch.arange(83.0).expand(SIZE)
    observed = torch.stack([(column < 80 - 7 * step).float() for step in range(4)])[None, :, None]
    flow = estimate_flow(frames * observed, observed)
    assert error_of(flow, (0.0, 0.0), observed[:, -1, 0] > 0).max() < 0.3  # the edge itself recedes by 7


@pytest.mark.parametrize("turn", [0.0, 50.0])
def test_motion_is_found_beside_a_missing_sector(turn):
    frames = drift((3.0, -2.0), 4, SIZE) + 5
    observed = torch.stack([sector(turn * step) for step in range(4)])[None, :, None]
    assert error_of(estimate_flow(frames * observed, observed), (3.0, -2.0)).max() < 0.25


@pytest.mark.parametrize("velocity", [(0.4, -0.3), (3.0, -2.0), (-7.0, 5.0)])
def test_motion_is_found_up_to_the_edge_of_coverage(velocity):
    covered, inner = disc(SIZE, 31), disc(SIZE, 27)
    frames, observed = drift(velocity, 4, SIZE) + 5, covered.float().expand(1, 4, 1, *SIZE)
    error = error_of(estimate_flow(frames * observed, observed), velocity, (covered & ~inner)[None])
    assert error.mean() < 0.25  # in the outermost four cells
    assert error.max() < 0.8


@pytest.mark.parametrize("seed", range(4))
def test_noise_that_matches_nowhere_has_little_motion(seed):
    frames = noise(1, 4, 1, *SIZE, seed=seed)
    flow = estimate_flow(frames, whole(frames))
    assert flow.norm(dim=1).mean() < 2.0  # the shift that happens to fit best is 4 to 22 cells long
    assert flow.norm(dim=1).max() < 9.0


def test_motion_is_found_under_noise_as_strong_as_the_field():
    frames = drift((-9.0, 12.0), 4, SIZE)
    noisy = frames + noise(*frames.shape)
    assert error_of(estimate_flow(noisy, whole(noisy)), (-9.0, 12.0)).mean() < 1.0


@pytest.mark.parametrize("velocity", [(0.0, -15.0), (-9.0, 11.0)])
def test_a_shift_under_which_nothing_was_seen_is_not_the_best(velocity):
    size, width = (33, 41), 21
    frames, observed = drift(velocity, 4, size), torch.zeros(1, 4, 1, *size)
    observed[..., :width] = 1
    error = error_of(estimate_flow(frames * observed, observed), velocity, observed[:, 0, 0] > 0)
    assert error.mean() < 1.0


def test_missing_values_do_not_matter():
    frames, observed = drift((2.0, 1.0), 3, (33, 41)), holes(1, 3, 1, 33, 41)
    clean = estimate_flow(frames * observed, observed)
    assert torch.equal(estimate_flow(torch.where(observed > 0, frames, 1e6), observed), clean)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_an_empty_field_stands_still(share):
    frames, observed = torch.full((2, 3, 1, 25, 31), -1.3), holes(2, 3, 1, 25, 31, share=share)
    flow = estimate_flow(frames * observed, observed)
    torch.testing.assert_close(flow, torch.zeros(2, 2, 25, 31), rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 2), (16, 9), (24, 24)])
def test_frames_of_any_size_have_a_flow(size):
    frames = noise(2, 3, 2, *size)
    flow = estimate_flow(frames, whole(frames))
    assert flow.shape == (2, 2, *size)
    assert flow.isfinite().all()


def test_variables_that_move_together_share_a_flow():
    frames = torch.cat((drift((3.0, -1.0), 3, SIZE), 4 * drift((3.0, -1.0), 3, SIZE, seed=1)), dim=2)
    assert error_of(estimate_flow(frames, whole(frames)), (3.0, -1.0)).mean() < 0.12


def test_a_variable_without_values_has_no_say():
    frames = torch.cat((drift((3.0, -1.0), 3, SIZE), torch.zeros(1, 3, 1, *SIZE)), dim=2)
    observed = torch.cat((torch.ones(1, 3, 1, *SIZE), torch.zeros(1, 3, 1, *SIZE)), dim=2)
    alone = estimate_flow(frames[:, :, :1], observed[:, :, :1])
    torch.testing.assert_close(estimate_flow(frames, observed), alone, rtol=0, atol=1e-3)


def test_clips_of_a_batch_do_not_see_each_other():
    frames = torch.cat((drift((3.0, -1.0), 3, (33, 41)), drift((-5.0, 2.0), 3, (33, 41), seed=1)))
    together = estimate_flow(frames, whole(frames))
    for clip in range(2):
        alone = estimate_flow(frames[clip : clip + 1], whole(frames)[clip : clip + 1])
        torch.testing.assert_close(together[clip : clip + 1], alone, rtol=0, atol=1e-3)


def test_two_motions_are_told_apart():
    frames = torch.cat((drift((4.0, 0.0), 3, (64, 80)), drift((-4.0, 0.0), 3, (64, 80), seed=1)), dim=-1)
    flow = estimate_flow(frames, whole(frames))
    assert error_of(flow[..., 16:56], (4.0, 0.0)).mean() < 0.3
    assert error_of(flow[..., -56:-16], (-4.0, 0.0)).mean() < 0.3


def test_matching_finds_whole_cells():
    frames = drift((3.0, -2.0), 3, (29, 37))
    error = error_of(match(frames, whole(frames)), (3.0, -2.0))
    assert error.median() < 0.4
    assert error.max() < 2.0


def test_lucas_kanade_finds_the_rest_of_a_cell():
    frames = drift((0.4, -0.25), 3, (45, 53))
    (evidence,) = lucas_kanade(frames, whole(frames), torch.zeros(1, 2, 45, 53), 3.0)
    error = error_of(evidence.step, (0.4, -0.25))
    assert error.mean() < 0.06
    assert error.max() < 0.3
    assert evidence.firmness.min() >= 0
    assert evidence.firmness.max() <= 1
    assert evidence.firmness.mean() > 0.5


def test_lucas_kanade_corrects_the_flow_it_is_given():
    frames, flow = drift((2.4, -1.0), 3, (45, 53)), uniform((2.0, -1.2), (45, 53))
    errors = [error_of(flow, (2.4, -1.0)).mean()]
    for _ in range(3):
        (evidence,) = lucas_kanade(frames, whole(frames), flow, 3.0)
        flow = flow + evidence.step
        errors.append(error_of(flow, (2.4, -1.0)).mean())
    assert errors[1] < 0.12
    assert errors[3] < errors[2] < errors[1]
    assert errors[3] < 0.08  # what remains comes from interpolating between cells


def test_no_texture_is_no_evidence():
    (evidence,) = lucas_kanade(torch.ones(1, 2, 1, 9, 11), torch.ones(1, 2, 1, 9, 11), torch.zeros(1, 2, 9, 11), 3.0)
    assert (evidence.step == 0).all()
    assert (evidence.firmness == 0).all()


def test_stripes_tell_one_direction_only():
    frames = torch.sin(torch.arange(53) / 4 - torch.tensor([0.0, 0.1])[:, None]).view(1, 2, 1, 1, 53)
    (evidence,) = lucas_kanade(
        frames.expand(1, 2, 1, 45, 53), torch.ones(1, 2, 1, 45, 53), torch.zeros(1, 2, 45, 53), 3.0
    )
    torch.testing.assert_close(evidence.step[0, 0].mean(), torch.tensor(0.4), rtol=0, atol=0.02)
    assert evidence.step[0, 1].abs().max() < 1e-6
    assert evidence.firmness.max() < 1e-3


def test_the_normal_equations_are_solved_by_hand():
    # Damping is 0.02 (6 + 4) = 0.2: [[6.2, 1], [1, 4.2]] step = -[1, -2] -> determinant 25.04
    terms = torch.tensor([6.0, 1.0, 4.0, 1.0, -2.0]).view(1, 5, 1, 1).expand(1, 5, 3, 5)
    step, firmness = motion._solve(terms)
    expected = torch.tensor([-(4.2 * 1 + 1 * 2) / 25.04, (6.2 * 2 + 1 * 1) / 25.04]).view(1, 2, 1, 1).expand(1, 2, 3, 5)
    torch.testing.assert_close(step, expected)
    torch.testing.assert_close(firmness, torch.full((1, 1, 3, 5), (6 * 4 - 1) / 25.04))


def test_no_step_is_longer_than_the_linearisation_reaches():
    terms = torch.tensor([1.0, 0.0, 1.0, 50.0, -50.0]).view(1, 5, 1, 1)
    torch.testing.assert_close(motion._solve(terms).step.flatten(), torch.tensor([-1.5, 1.5]))


def test_blocks_are_means_of_what_was_observed():
    frames, observed = noise(1, 2, 1, 5, 7), holes(1, 2, 1, 5, 7, share=0.4)
    mean, seen = shrink(torch.where(observed > 0, frames, 1e6), observed, 2)
    assert mean.shape == seen.shape == (1, 2, 1, 3, 4)
    for t, row, col in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4)).tolist():
        block = (0, t, 0, slice(2 * row, 2 * row + 2), slice(2 * col, 2 * col + 2))
        inside = observed[block] > 0
        assert seen[0, t, 0, row, col] == float(inside.float().mean() >= 0.5)
        expected = frames[block][inside].mean() if inside.any() else torch.tensor(0.0)
        torch.testing.assert_close(mean[0, t, 0, row, col], expected)


def test_passing_motion_is_what_a_flow_leaves_unexplained():
    frames = drift((1.4, -0.7), 3, SIZE)
    passing = passing_flow(frames, whole(frames), uniform((1.0, -0.4), SIZE))
    assert error_of(passing, (0.4, -0.3)).median() < 0.1


def test_the_last_pair_of_frames_counts_most():
    slow, fast = drift((0.2, 0.0), 2, SIZE), drift((0.8, 0.0), 2, SIZE)
    frames = torch.cat((slow[:, :1], fast), dim=1)  # stands nearly still, then moves
    (evidence,) = lucas_kanade(frames, whole(frames), torch.zeros(1, 2, *SIZE), 5.0)
    assert evidence.step[:, 0].median() > 0.4  # the mean of both pairs would be below it
