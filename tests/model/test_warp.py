"""Laws of sampling and carrying, and paths against flows whose paths are known."""

import cmath

import pytest
import torch
from drifting import holes, noise, uniform
from torch import Tensor

from physicnet.model.warp import FADE, carry, resize, sample, sample_observed, trajectories

H, W = 5, 7


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_zero_displacement_is_the_identity(padding):
    field = noise(2, 3, H, W)
    torch.testing.assert_close(sample(field, torch.zeros(2, 2, H, W), padding=padding), field, rtol=0, atol=1e-5)


def test_displacement_is_x_then_y_from_the_cell_to_what_it_takes():
    field = noise(1, 3, H, W)
    found = sample(field, uniform((2.0, -1.0), (H, W)), padding="zeros")
    expected = torch.zeros_like(field)
    expected[..., 1:, :-2] = field[..., :-1, 2:]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_each_cell_and_each_clip_has_its_own_displacement():
    field = noise(2, 1, H, W)
    displacement = torch.zeros(2, 2, H, W)
    displacement[1, :, 3, 4] = torch.tensor([-4.0, 1.0])
    expected = field.clone()
    expected[1, 0, 3, 4] = field[1, 0, 4, 0]
    torch.testing.assert_close(sample(field, displacement), expected, rtol=0, atol=1e-5)


def test_between_cells_values_are_bilinear():
    rows, cols = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    field = (2.0 * cols - 3.0 * rows + 1.0)[None, None]
    found = sample(field, uniform((0.25, 0.5), (H, W)))
    torch.testing.assert_close(found[..., :-1, :-1], (field + 2 * 0.25 - 3 * 0.5)[..., :-1, :-1])


def test_border_continues_the_outermost_cells_and_zeros_end_there():
    field = noise(1, 1, H, W)
    far = uniform((100.0, 0.0), (H, W))
    torch.testing.assert_close(sample(field, far), field[..., -1:].expand(1, 1, H, W))
    assert (sample(field, far, padding="zeros") == 0).all()


def test_half_precision_tells_far_cells_apart():
    field = torch.arange(600.0)[None, None, None, :].expand(1, 1, 3, 600)
    displacement = uniform((0.5, 0.0), (3, 600)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = sample(field.bfloat16(), displacement)
    torch.testing.assert_close(found[..., :-1], sample(field.bfloat16().float(), displacement.float())[..., :-1])


def mean_by_hand(values: Tensor, observed: Tensor, x: float, y: float) -> tuple[float, float]:
    """Mean of the observed cells around (x, y) and the weight that was observed."""
    total = weight = 0.0
    for row in range(values.shape[0]):
        for col in range(values.shape[1]):
            overlap = max(0.0, 1 - abs(col - x)) * max(0.0, 1 - abs(row - y)) * float(observed[row, col])
            total, weight = total + overlap * float(values[row, col]), weight + overlap
    return (total / weight if weight > 1e-3 else 0.0), weight


def test_observed_means_equal_a_loop_over_the_neighbours():
    field, observed = noise(1, 2, H, W), holes(1, 2, H, W, share=0.4)
    displacement = 2 * noise(1, 2, H, W, seed=1)
    value, share = sample_observed(field, observed, displacement)
    for c, row, col in torch.cartesian_prod(torch.arange(2), torch.arange(H), torch.arange(W)).tolist():
        x, y = (displacement[0, :, row, col] + torch.tensor([col, row])).tolist()
        expected = mean_by_hand(field[0, c], observed[0, c], x, y)
        assert (float(value[0, c, row, col]), float(share[0, c, row, col])) == pytest.approx(expected, abs=1e-4)


def test_no_missing_value_leaks():
    field, observed = noise(2, 3, H, W), holes(2, 3, H, W)
    displacement = 2 * noise(2, 2, H, W, seed=1)
    polluted = torch.where(observed > 0, field, 1e9)
    value, share = sample_observed(polluted, observed, displacement)
    expected, expected_share = sample_observed(field, observed, displacement)
    assert torch.equal(value, expected)
    assert torch.equal(share, expected_share)
    assert value.abs().max() <= field.abs().max() * 1.001


def test_nothing_is_observed_outside_the_field():
    field, observed = noise(1, 1, H, W), torch.ones(1, 1, H, W)
    value, share = sample_observed(field, observed, uniform((0.0, 3.0), (H, W)))
    assert (share[..., 2:, :] == 0).all()
    assert (value[..., 2:, :] == 0).all()
    torch.testing.assert_close(share[..., :2, :], torch.ones(1, 1, 2, W), rtol=0, atol=1e-5)


def test_paths_of_a_uniform_flow_are_straight_and_lead_back():
    paths = trajectories(uniform((1.5, -0.75), (H, W), batch=2), 4)
    assert paths.shape == (2, 4, 2, H, W)
    for lead in range(1, 5):
        expected = uniform((-1.5 * lead, 0.75 * lead), (H, W), batch=2)
        torch.testing.assert_close(paths[:, lead - 1], expected, rtol=0, atol=1e-5)


def solid_rotation(angle: float, size: tuple[int, int], num_leads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Velocities of a rotation about the middle, where it comes from at each lead, and the cells away from borders."""
    rows, cols = torch.meshgrid(*(torch.arange(float(length)) for length in size), indexing="ij")
    place = torch.complex(cols - (size[1] - 1) / 2, rows - (size[0] - 1) / 2)  # x + iy turns by e^(i angle)
    ways = [place * cmath.exp(-1j * angle * lead) - place for lead in range(1, num_leads + 1)]
    paths = torch.stack([torch.stack((way.real, way.imag)) for way in ways])
    flow = angle * torch.stack((-place.imag, place.real))
    return flow[None], paths[None], place.abs() < min(size) / 2 - 3


def test_paths_of_a_rotation_follow_circles_twenty_times_closer_than_straight_steps():
    flow, expected, inner = solid_rotation(0.1, (41, 47), 9)
    straight = [-flow]
    for _ in range(8):
        straight.append(-flow + sample(straight[-1], -flow))
    error = (trajectories(flow, 9) - expected)[..., inner].norm(dim=2).amax(dim=-1)[0]
    euler = (torch.stack(straight, dim=1) - expected)[..., inner].norm(dim=2).amax(dim=-1)[0]
    assert (error < 0.005 * torch.arange(1, 10)).all()  # pixels, at radii up to 17
    assert (error < euler / 20).all()


def test_paths_of_fewer_leads_are_the_first_ones():
    flow = 2 * noise(2, 2, H, W)
    assert torch.equal(trajectories(flow, 2), trajectories(flow, 5)[:, :2])


def test_paths_lead_as_far_as_a_step_at_a_time_does():
    flow = uniform((1.0, 2.0), (9, 11))
    field = noise(1, 1, 9, 11)
    once = sample(field, trajectories(flow, 1)[:, 0], padding="zeros")
    twice = sample(once, trajectories(flow, 1)[:, 0], padding="zeros")
    torch.testing.assert_close(sample(field, trajectories(flow, 2)[:, 1], padding="zeros"), twice, rtol=0, atol=1e-5)


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_carrying_equals_sampling_lead_by_lead(padding):
    frames, paths = noise(2, 3, 4, H, W), 2 * noise(2, 3, 2, H, W, seed=1)
    carried = carry(frames, paths, padding=padding)
    for lead in range(3):
        expected = sample(frames[:, lead], paths[:, lead], padding=padding)
        torch.testing.assert_close(carried[:, lead], expected)


def test_gradients_reach_the_field_and_the_flow():
    field, flow = noise(1, 2, 3, H, W).requires_grad_(), noise(1, 2, H, W, seed=1).requires_grad_()
    carry(field, trajectories(flow, 2)).square().sum().backward()
    assert field.grad.abs().sum() > 0
    assert (flow.grad.abs().amax(dim=(0, 2, 3)) > 0).all()


@pytest.mark.parametrize("size", [(3, 11), (10, 14), (5, 7)])
def test_resizing_keeps_constants(size):
    torch.testing.assert_close(resize(torch.full((2, 3, H, W), 1.7), size), torch.full((2, 3, *size), 1.7))


def test_resizing_keeps_the_area_where_it_is():
    rows, cols = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij")
    field = torch.stack((cols, rows))  # centres of cells
    found = resize(field, (6, 4))
    assert found.shape == (2, 6, 4)
    torch.testing.assert_close(found[0], (4 * torch.arange(4.0) + 1.5).expand(6, 4))
    torch.testing.assert_close(found[1], (2 * torch.arange(6.0) + 0.5)[:, None].expand(6, 4))
    torch.testing.assert_close(resize(found, (12, 16)).mean(dim=(1, 2)), field.mean(dim=(1, 2)))


def test_a_passing_flow_acts_on_the_first_leads_and_fades():
    flow, passing = uniform((1.0, 0.0), (H, W)), uniform((0.5, -1.0), (H, W))
    paths = trajectories(flow, 3, passing=passing)
    shares = torch.tensor([1.0, 1 + FADE, 1 + FADE + FADE**2])
    expected = torch.stack(
        [-lead * flow - share * passing for lead, share in zip((1, 2, 3), shares, strict=True)], dim=1
    )
    torch.testing.assert_close(paths, expected)
