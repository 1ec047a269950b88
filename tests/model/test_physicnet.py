"""The whole model: what it forecasts before training, what it may see, and what reaches what."""

import math

import pytest
import torch
from drifting import drift, holes, noise, uniform
from small import WINDOW, corners_of, small_net, speaking_net
from torch import Tensor

from physicnet.model import physicnet
from physicnet.model.cascade import NUM_BASIS
from physicnet.model.flow import Unrefined
from physicnet.model.physicnet import (
    MARGIN,
    Level,
    Present,
    complete,
    grow,
    held_back,
    mostly_observed,
    observe,
    range_of,
)
from physicnet.model.source import RISING
from physicnet.model.warp import carry, trajectories
from physicnet.model.windows import paste

SIZE = (33, 41)
PARTS = ("frames", "global_frames", "flow", "gate", "reach", "inside")
CORNERS = corners_of((0, 0), (12, 7), (14, 11), (25, 33))


def whole(frames: Tensor) -> Tensor:
    return torch.ones_like(frames)


def test_the_untrained_forecast_is_the_last_frame_carried_along_the_first_flow():
    past = drift((1.7, -0.8), 3, SIZE)
    flow = observe(past, whole(past)).flow
    prediction = small_net()(past, whole(past), CORNERS, 3)
    expected = carry(past[:, -1:].expand(-1, 3, -1, -1, -1), trajectories(flow, 3))
    for frames in (prediction.frames, prediction.global_frames):
        assert (frames - expected).abs().mean() < 0.02  # the experts' grids interpolate the flow
    assert (prediction.flow - flow).norm(dim=1).mean() < 0.1


def test_the_untrained_forecast_along_a_uniform_flow_is_exact(monkeypatch):
    past, flow = noise(2, 3, 1, *SIZE), uniform((3.0, -1.0), SIZE, batch=2)
    monkeypatch.setattr(physicnet, "estimate_flow", lambda *_: flow)
    monkeypatch.setattr(physicnet, "passing_flow", lambda *_: torch.zeros_like(flow))
    prediction = small_net()(past, whole(past), CORNERS.expand(2, -1, -1), 4)
    torch.testing.assert_close(prediction.flow, flow)
    for lead in range(1, 5):
        expected = past[:, -1, :, lead:, : -3 * lead]
        torch.testing.assert_close(prediction.frames[:, lead - 1, :, :-lead, 3 * lead :], expected, rtol=0, atol=2e-3)


def test_without_flow_nothing_moves():
    past, held = drift((1.7, -0.8), 3, SIZE), holes(1, 3, 1, *SIZE)
    net = small_net(flow="none")
    for observed in (whole(past), held):
        prediction = net(past * observed, observed, CORNERS, 3)
        assert (prediction.flow == 0).all()
        assert prediction.paths is None
        assert (prediction.inside == 1).all()
        assert torch.equal(prediction.reach, prediction.presence[:, None].expand(-1, 3, -1, -1, -1))
        last = complete(past[:, -1] * observed[:, -1], observed[:, -1])
        for frames in (prediction.frames, prediction.global_frames):
            torch.testing.assert_close(frames, last[:, None].expand_as(frames), rtol=0, atol=2e-3)
        present = observe(past * observed, observed, moves=False)
        assert torch.equal(present.frames, past * observed)
        assert torch.equal(present.observed, observed)


def test_without_flow_a_frame_becomes_itself_and_its_source_where_it_is():
    past, net = drift((1.7, -0.8), 3, SIZE), speaking_net()
    net.moves = False
    net.global_level.flow = net.local_level.flow = Unrefined()
    prediction = net(past, whole(past), CORNERS, 3)
    grown = grow(prediction.alone.last, prediction.alone.source, prediction.alone.within)
    assert torch.equal(prediction.global_frames, grown)
    assert (prediction.frames != prediction.global_frames).any()


def test_without_flow_experts_the_first_flow_stays_as_it_is():
    past, net = drift((1.7, -0.8), 3, SIZE), small_net(flow="first")
    assert torch.equal(net(past, whole(past), CORNERS, 2).flow, observe(past, whole(past)).flow)
    assert not [name for name, _ in net.named_parameters() if ".flow." in name]


def test_the_untrained_forecast_follows_a_known_motion():
    frames = drift((2.0, -1.0), 6, SIZE)
    past, future = frames[:, :3], frames[:, 3:]
    prediction = small_net()(past, whole(past), CORNERS, 3)
    error = ((prediction.frames - future).square() * (prediction.inside > 0.99)).mean()
    assert error < 0.01
    assert error < ((past[:, -1:] - future).square() * (prediction.inside > 0.99)).mean() / 20


@pytest.mark.parametrize(
    ("variables", "frames_in", "num_leads", "size"), [(1, 2, 1, (8, 8)), (2, 3, 5, (9, 21)), (3, 5, 2, (16, 11))]
)
def test_any_number_of_variables_frames_leads_rows_and_columns_is_taken(variables, frames_in, num_leads, size):
    past = noise(2, frames_in, variables, *size)
    observed, corners = holes(*past.shape), torch.tensor([[0, 0], [size[0] - WINDOW, size[1] - WINDOW]]).expand(2, 2, 2)
    net = speaking_net(variables=variables, frames_in=frames_in)
    prediction = net(past * observed, observed, corners, num_leads)
    assert prediction.frames.shape == prediction.global_frames.shape == (2, num_leads, variables, *size)
    assert prediction.gate.shape == prediction.frames.shape
    assert prediction.reach.shape == prediction.inside.shape == (2, num_leads, 1, *size)
    assert prediction.flow.shape == (2, 2, *size)
    assert prediction.codes[1].code.shape[0] == 2 * corners.shape[1]
    for name in (*PARTS, "limited", "paths", "presence"):
        assert getattr(prediction, name).isfinite().all(), name


@pytest.mark.parametrize("moves", [True, False])
@pytest.mark.parametrize("corners", [CORNERS, None])
def test_only_some_leads_are_those_among_all(moves, corners):
    past, net, only = drift((1.7, -0.8), 3, SIZE), speaking_net(), torch.tensor([2, 3, 6])
    net.moves = moves
    whole_forecast = net(past, whole(past), corners, 6)
    few = net(past, whole(past), corners, 6, only=only)
    for name in ("frames", "global_frames", "gate", "reach", "inside", "limited"):
        torch.testing.assert_close(getattr(few, name), getattr(whole_forecast, name)[:, only - 1])
    assert torch.equal(few.flow, whole_forecast.flow)


@pytest.mark.parametrize("size", [(5, 7), (33, 41)])
def test_without_windows_the_local_level_sees_the_whole_frame_even_one_smaller_than_a_window(size):
    net, past = speaking_net(), drift((1.0, 2.0), 3, size)
    prediction = net(past, whole(past), None, 2)
    assert prediction.frames.shape == (1, 2, 1, *size)
    assert (prediction.presence == 1).all()
    assert prediction.codes[1].indices.shape == (1, -(-size[0] // 4), -(-size[1] // 4))
    assert (prediction.frames - prediction.global_frames).abs().max() > 0.01


def test_a_window_says_what_the_local_level_says_of_the_whole_frame_away_from_its_edges():
    """Of its latents; the flow expert's evidence is relative to what it is shown."""
    net, past = speaking_net(), drift((1.0, 2.0), 3, (96, 104))
    present = observe(past, whole(past))
    net.window = 48
    crops = net.crop(present, present.flow, corners_of((24, 32)))
    there, here = (net.local_level.encode(part) for part in (present, crops))
    torch.testing.assert_close(here.latent[..., 4:-4, 4:-4], there.latent[..., 6:18, 8:20][..., 4:-4, 4:-4])


def test_a_clip_of_which_nothing_was_observed_has_a_forecast_and_teaches_nothing():
    net = speaking_net().train()
    before = {name: value.clone() for name, value in net.codebook.state_dict().items()}
    past = torch.zeros(2, 3, 1, *SIZE)
    prediction = net(past, past, CORNERS.expand(2, -1, -1), 2)
    net.codebook.follow(*(code.seen for code in prediction.codes))
    assert prediction.frames.isfinite().all()
    assert all(code.commitment == 0 for code in prediction.codes)
    assert all(torch.equal(value, before[name]) for name, value in net.codebook.state_dict().items())


def test_a_missing_value_is_not_a_zero():
    net, past, observed = speaking_net(), drift((1.0, 2.0), 3, SIZE), whole(drift((1.0, 2.0), 3, SIZE))
    past[..., 10:20, 10:20] = 0
    observed[..., 10:20, 10:20] = 0
    as_missing, as_zero = (net(past, mask, CORNERS, 2) for mask in (observed, whole(past)))
    assert (as_missing.flow - as_zero.flow).abs().max() > 0.1
    assert (as_missing.frames - as_zero.frames).abs().max() > 0.1


def test_the_flow_experts_are_told_what_was_observed():
    net, past, observed, told = small_net(), drift((1.0, 2.0), 3, SIZE), holes(1, 3, 1, *SIZE), []
    for level in (net.global_level, net.local_level):
        level.flow.register_forward_pre_hook(lambda _, inputs: told.append(inputs[:2]))
    net(past * observed, observed, corners_of((12, 14)), 1)
    present = observe(past * observed, observed)
    assert torch.equal(told[0][0], past * observed)
    assert torch.equal(told[0][1], observed)
    assert torch.equal(told[1][0], present.frames[..., 12:20, 14:22])
    assert torch.equal(told[1][1], present.observed[..., 12:20, 14:22])


def test_every_frame_counts():
    net, past = speaking_net(), drift((1.0, 2.0), 3, SIZE)
    frames = net(past, whole(past), CORNERS, 2).frames
    for age in range(3):
        changed = past.clone()
        changed[:, age] += 0.5 * noise(1, 1, *SIZE)
        assert (net(changed, whole(past), CORNERS, 2).frames - frames).abs().max() > 0.02


@pytest.mark.parametrize("part", ["frames", "global_frames"])
def test_the_outputs_have_gradients_for_every_parameter_of_every_level(part):
    net, past = speaking_net(), drift((1.0, 2.0), 3, SIZE)
    prediction = net(past, whole(past), CORNERS, 3)
    getattr(prediction, part).square().sum().backward()
    for name, parameter in net.named_parameters():
        heard = name.startswith(("global_level", "memory")) and "confidence" not in name
        if part == "frames" or heard:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name


def test_the_global_forecast_knows_nothing_of_the_local_level():
    net, past = speaking_net(), drift((1.0, 2.0), 3, SIZE)
    net(past, whole(past), CORNERS, 3).global_frames.sum().backward()
    assert all(parameter.grad is None or parameter.grad.eq(0).all() for parameter in net.local_level.parameters())


def test_gradients_reach_the_codes_latents_by_the_commitment():
    net, past = speaking_net(), drift((1.0, 2.0), 3, SIZE)
    sum(code.commitment for code in net(past, whole(past), CORNERS, 1).codes).backward()
    for level in (net.global_level, net.local_level):
        assert level.encoder.latent.weight.grad.abs().max() > 0


def test_clips_of_a_batch_do_not_see_each_other():
    net = speaking_net()
    past = torch.cat((drift((1.0, 2.0), 3, SIZE), 3 * drift((-4.0, 0.0), 3, SIZE, seed=1)))
    observed = holes(2, 3, 1, *SIZE)
    corners = torch.cat((CORNERS, corners_of((3, 2), (20, 30), (9, 9), (0, 33))))
    together = net(past * observed, observed, corners, 2)
    for clip in range(2):
        one = slice(clip, clip + 1)
        alone = net(past[one] * observed[one], observed[one], corners[one], 2)
        for name in PARTS:
            torch.testing.assert_close(getattr(together, name)[one], getattr(alone, name), rtol=1e-3, atol=1e-3)


def test_leads_do_not_depend_on_how_many_are_asked_for():
    net, past = speaking_net(), drift((1.0, 2.0), 3, SIZE)
    few, more = net(past, whole(past), CORNERS, 2), net(past, whole(past), CORNERS, 5)
    for name in ("frames", "global_frames", "gate", "reach", "inside"):
        torch.testing.assert_close(getattr(few, name), getattr(more, name)[:, :2], rtol=1e-4, atol=1e-5)


def test_the_order_of_windows_does_not_matter():
    net, past = speaking_net(), drift((1.0, 2.0), 3, SIZE)
    forth, back = (net(past, whole(past), corners, 2).frames for corners in (CORNERS, CORNERS.flip(1)))
    torch.testing.assert_close(forth, back, rtol=1e-4, atol=1e-4)


def test_without_a_window_nearby_the_global_level_speaks_alone():
    net, past = speaking_net(), drift((0.5, -0.5), 3, SIZE)
    prediction = net(past, whole(past), corners_of((12, 14)), 2)
    inside = torch.zeros(SIZE, dtype=torch.bool)
    inside[12 : 12 + WINDOW, 14 : 14 + WINDOW] = True
    assert (prediction.gate[..., ~inside] == 0).all()
    assert (prediction.gate[..., inside] > 0).all()
    assert prediction.gate.max() < 1
    far = torch.ones(SIZE, dtype=torch.bool)
    far[4:28, 6:30] = False
    assert (prediction.reach[..., far] == 0).all()
    torch.testing.assert_close(prediction.frames[..., far], prediction.global_frames[..., far])
    assert (prediction.frames - prediction.global_frames)[..., inside].abs().max() > 0.01


def say(level: Level, confidence: float) -> None:
    """Let a level be so confident at the first lead, everywhere."""
    level.source.confidence.bias.data[0] = confidence / (1 - math.exp(-1 / RISING[0]))  # the first rise's


@pytest.mark.parametrize("global_confidence", [0.0, -2.0])
def test_the_gate_follows_the_confidence_of_the_levels(global_confidence):
    net, past = small_net(), drift((0.5, -0.5), 3, SIZE)
    say(net.global_level, global_confidence)
    for local_confidence in (-20.0, 1.0, 20.0):
        say(net.local_level, local_confidence)
        gate = net(past, whole(past), corners_of((12, 14)), 1).gate[0, 0, 0, 15:17, 17:19]
        expected = torch.sigmoid(torch.tensor(local_confidence - global_confidence)).expand(2, 2)
        torch.testing.assert_close(gate, expected, rtol=0, atol=1e-4)


def test_the_code_enters_the_source():
    net, past = speaking_net(), drift((1.0, 2.0), 3, SIZE)
    for level in (net.global_level, net.local_level):
        present = observe(past, whole(past))
        encoded = level.encode(present)
        quantized = net.quantize(encoded, present)
        code = quantized.code.detach().requires_grad_()
        basis = noise(1, 1, NUM_BASIS, *SIZE)
        level.forecast(encoded, quantized._replace(code=code), basis, torch.tensor([1, 2])).value.sum().backward()
        assert code.grad.abs().max() > 0


def test_windows_turn_the_flow_as_far_as_they_are_present(monkeypatch):
    net, past, first = small_net(), noise(1, 3, 1, *SIZE), uniform((0.5, 1.0), SIZE)
    monkeypatch.setattr(physicnet, "estimate_flow", lambda *_: first)
    monkeypatch.setattr(
        net.global_level.flow, "forward", lambda _past, _observed, flow, _: flow + uniform((8.0, 0.0), SIZE)
    )
    wide = net(past, whole(past), corners_of((12, 14)), 1)
    torch.testing.assert_close(wide.flow, first + uniform((8.0, 0.0), SIZE))
    turn = uniform((0.0, -4.0), (WINDOW, WINDOW))
    monkeypatch.setattr(net.local_level.flow, "forward", lambda _past, _observed, flow, _: flow + turn)
    turned = net(past, whole(past), corners_of((12, 14)), 1).flow - wide.flow
    _, presence = paste(torch.zeros(1, 1, WINDOW, WINDOW), corners_of((12, 14)), SIZE)
    torch.testing.assert_close(turned, presence * uniform((0.0, -4.0), SIZE), rtol=0, atol=1e-4)


def test_cells_that_come_from_outside_the_view_are_known(monkeypatch):
    past, flow = noise(1, 3, 1, *SIZE), uniform((2.0, -1.0), SIZE)
    monkeypatch.setattr(physicnet, "estimate_flow", lambda *_: flow)
    monkeypatch.setattr(physicnet, "passing_flow", lambda *_: torch.zeros_like(flow))
    inside = small_net()(past, whole(past), CORNERS, 3).inside[0, :, 0]
    for lead in range(1, 4):
        expected = torch.ones(SIZE)
        expected[:, : 2 * lead] = 0
        expected[SIZE[0] - lead :] = 0
        torch.testing.assert_close(inside[lead - 1], expected, rtol=0, atol=1e-4)


def test_a_shifted_past_has_a_shifted_forecast(monkeypatch):
    # By cells of the model's coarsest grid, 8; the pattern stays clear of the borders, which are not shifted.
    size, net = (128, 144), speaking_net()
    monkeypatch.setattr(physicnet, "estimate_flow", lambda past, _: uniform((0.5, -0.25), past.shape[-2:]))
    past = torch.zeros(1, 3, 1, *size)
    past[..., 56:72, 56:72] = drift((0.5, -0.25), 3, (16, 16))
    shifted = past.roll((8, 16), dims=(-2, -1))
    with torch.no_grad():
        here = net(past, whole(past), corners_of((56, 56), (60, 62)), 1).frames
        there = net(shifted, whole(past), corners_of((64, 72), (68, 78)), 1).frames
    torch.testing.assert_close(there[..., 60:84, 68:92], here[..., 52:76, 52:76], rtol=0, atol=1e-3)


def test_half_precision_forecasts_nearly_the_same():
    net, past = speaking_net(), drift((2.5, -1.5), 3, SIZE)
    exact = net(past, whole(past), CORNERS, 3)
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(past, whole(past), CORNERS, 3)
    assert (rough.flow - exact.flow).norm(dim=1).mean() < 0.1
    assert (rough.frames - exact.frames).abs().mean() < 0.1


def test_codes_are_learned_from_both_levels_when_they_are_told_to():
    net, past = speaking_net().train(), drift((1.0, 2.0), 3, SIZE)
    prediction = net(past, whole(past), CORNERS, 1)
    assert not net.codebook.initialized
    net.codebook.follow(*(code.seen for code in prediction.codes))
    assert net.codebook.initialized
    assert net.codebook.updates == 2


def test_the_present_holds_every_frame_where_its_parcels_are_now():
    frames = drift((2.0, -1.0), 4, SIZE)
    present = observe(frames, whole(frames))
    assert torch.equal(present.frames[:, -1], frames[:, -1])
    seen = present.observed > 0.99
    assert ((present.frames - frames[:, -1:])[seen]).abs().mean() < 0.1
    assert (frames - frames[:, -1:])[:, 0].abs().mean() > 0.5
    assert (seen[:, 0, 0, 8:-8, 8:-8]).all()
    assert (present.observed[:, 0, 0, :, :5] == 0).all()  # three steps ago, these were outside


def test_the_present_carries_masks_along():
    frames, observed = drift((2.0, -1.0), 3, SIZE), torch.ones(1, 3, 1, *SIZE)
    observed[:, 0, :, 20, 20] = 0
    polluted = torch.where(observed > 0, frames, 1e9)
    present = observe(polluted, observed)
    assert present.frames.abs().max() < 10
    assert present.observed[0, 0, 0, 18, 24] < 0.5
    assert present.observed[0, 0, 0, 20, 20] > 0.99


def test_windows_see_what_the_global_level_added_to_the_first_flow():
    net, present = small_net(), Present(noise(1, 2, *SIZE), noise(1, 3, 1, *SIZE, seed=1), holes(1, 3, 1, *SIZE))
    crops = net.crop(present, present.flow + uniform((1.0, -2.0), SIZE), corners_of((3, 5), (20, 30)))
    torch.testing.assert_close(crops.flow, uniform((1.0, -2.0), (WINDOW, WINDOW), batch=2))
    assert torch.equal(crops.frames[1], present.frames[0, ..., 20:28, 30:38])
    assert torch.equal(crops.observed[0], present.observed[0, ..., 3:11, 5:13])


def test_coarse_cells_are_mostly_observed_by_hand():
    observed = torch.zeros(1, 2, 1, 4, 6)
    observed[..., :2, :3] = 1  # all of the first coarse cell
    observed[:, 0, :, :2, 3:] = 1  # half of the second: one frame of two
    observed[:, :, :, 2:, :2] = 1  # two thirds of the third
    found = mostly_observed(Present(torch.zeros(1, 2, 4, 6), observed, observed), (2, 2))
    assert found.tolist() == [[[True, False], [True, False]]]


def test_growth_is_added_within_the_range_of_the_past():
    past = 3 * noise(2, 3, 2, 5, 7)
    low, high = past.amin(dim=(1, 3, 4)), past.amax(dim=(1, 3, 4))
    torch.testing.assert_close(
        grow(past[:, -1], torch.zeros(2, 4, 2, 5, 7), range_of(past)),
        past[:, -1:].expand(2, 4, 2, 5, 7),
        rtol=0,
        atol=1e-3,
    )
    for source, end in ((1e3, high + MARGIN), (-1e3, low - MARGIN)):
        grown = grow(past[:, -1], torch.full((2, 4, 2, 5, 7), source), range_of(past))
        torch.testing.assert_close(grown, end[:, None, :, None, None].expand_as(grown), rtol=0, atol=1e-3)
    middle = 0.5 * (low + high)[:, None, :, None, None] - past[:, -1:]
    torch.testing.assert_close(grow(past[:, -1], middle, range_of(past)), past[:, -1:] + middle, rtol=0, atol=1e-3)


def test_what_is_held_back_is_counted_by_hand():
    past = torch.tensor([[-1.0, 0.0, 3.0, 2.0]]).view(1, 1, 1, 1, 4)  # limits -1.5 and 3.5
    source = torch.tensor([[0.4, 0.6], [0.0, 0.0], [-9.0, 0.4], [1.6, -0.6]]).T.reshape(1, 2, 1, 1, 4)
    assert held_back(past[:, -1], source, range_of(past)).flatten().tolist() == [0.5, 0.0]
    source = source.clone()
    source[0, 1, 0, 0, 0] = -0.6
    assert held_back(past[:, -1], source, range_of(past)).flatten().tolist() == [0.5, 0.25]


def test_a_part_of_a_frame_is_limited_as_the_whole_is():
    net, past = speaking_net(scale=30.0), drift((1.0, 2.0), 3, SIZE)
    part = past[..., :24, :24]
    corners = corners_of((0, 0), (12, 7))
    own, wider = net(part, whole(part), corners, 2), net(part, whole(part), corners, 2, within=range_of(4 * past))
    assert own.frames.max() <= part.max() + MARGIN + 0.1
    assert wider.frames.max() > part.max() + MARGIN + 0.1
    assert own.limited.min() > wider.limited.max() > 0


def test_what_was_not_observed_is_continued_from_its_neighbours_and_fades_to_the_mean():
    frame = torch.full((1, 1, 9, 240), 3.0)
    observed = torch.ones_like(frame)
    observed[..., 40:] = 0
    frame[..., 40:] = 1e6 * (1 - observed[..., 40:])  # never looked at
    whole_frame = complete(frame, observed)
    assert torch.equal(whole_frame[..., :40], frame[..., :40])
    continued = whole_frame[0, 0, 4, 40:]
    assert continued[0] > 2.8
    assert (continued.diff() <= 0).all()
    assert continued[-1].abs() < 1e-3
