"""The memory's fit: exact where its form is exact, equal to plain least squares, blind to what is missing."""

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor
from training.conftest import CLIP, MODEL, Data

from physicnet.model import physicnet
from physicnet.model.cascade import Memory
from physicnet.model.course import Course, Fading, Spline
from physicnet.model.physicnet import FirstGuess, first_guess
from physicnet.model.warp import carry
from physicnet.training import memory
from physicnet.training.memory import (
    BADLY,
    CLIPS,
    FAINT,
    RIDGE,
    WELL,
    first_memory,
    fit_memory,
    moments,
    trust,
    unexplained,
)

T, K = 3, 4
EITHER = pytest.mark.parametrize("course", [Fading(), Spline(K)])


def still(seed: int, fading: float, size: tuple[int, int] = (40, 44)) -> Float[Tensor, "t c h w"]:
    """A noise that does not move, and from the last observed frame on keeps the share `fading`^lead of itself."""
    frame = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    shares = [1.0] * T + [fading**lead for lead in range(1, K + 1)]
    return torch.stack([share * frame for share in shares])[:, None]


def fitted(*clips: Tensor, course: Course | None = None, moves: bool = True) -> Memory:
    found = Memory(clips[0].shape[1], course or Fading())
    found.begin_with(fit_memory(clips, T, found.course, moves=moves))
    return found


def forecast(fit: Memory, clip: Tensor, *, moves: bool = True) -> Tensor:
    past, num_leads = clip[None, :T], len(clip) - T
    guess = first_guess(past, torch.ones_like(past), num_leads, moves=moves)
    frames = guess.frame[:, None] + fit(guess.features, torch.arange(num_leads) + 1)
    return carry(frames.detach(), guess.paths)[0]


@EITHER
def test_a_field_that_fades_is_forecast_to_fade(course: Course):
    fit = fitted(*(still(seed, 0.8) for seed in range(4)), course=course)
    unseen = still(9, 0.8)
    error = (forecast(fit, unseen) - unseen[T:]).square().mean(dim=(1, 2, 3))
    assert (error < 0.01 * (unseen[T - 1] - unseen[T:]).square().mean(dim=(1, 2, 3))).all()


def test_a_field_that_stays_is_left_as_it_is():
    unseen = still(9, 1.0)
    error = forecast(fitted(still(0, 1.0), still(1, 1.0)), unseen) - unseen[T:]
    assert error.square().mean() < 1e-4


def test_several_variables_are_fitted_alike_on_any_number_of_threads():
    clips = [torch.cat([still(seed, 0.8), still(seed + 4, 0.6)], dim=1) for seed in range(4)]
    alone = fit_memory(clips, T, Fading()).weights
    torch.set_num_threads(2)
    try:
        together = fit_memory(clips, T, Fading()).weights
    finally:
        torch.set_num_threads(1)
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


def test_where_nothing_moves_nothing_is_carried(monkeypatch: pytest.MonkeyPatch):
    noise = still(9, 1.0)[0]
    clip = torch.stack([noise.roll((frame, -frame), dims=(-2, -1)) for frame in range(T + K)])
    moving, unmoved = (fit_memory([clip], T, Fading(), moves=moves).weights for moves in (True, False))
    nowhere = torch.zeros(1, 2, *clip.shape[-2:])
    monkeypatch.setattr(physicnet, "estimate_flow", lambda *_: nowhere)
    monkeypatch.setattr(physicnet, "passing_flow", lambda *_: nowhere)
    torch.testing.assert_close(
        unmoved, fit_memory([clip], T, Fading()).weights, rtol=0, atol=1e-3
    )  # but for the rounding of a shift by 0
    assert (unmoved - moving).abs().max() > 0.01


@pytest.mark.parametrize("course", [Fading(), Spline(CLIP.frames_out)])
def test_the_fit_is_the_least_squares_of_all_cells_written_out(data: Data, course: Course):
    clips = list(data.inputs.clips.spread(5))
    weights = fit_memory(clips, CLIP.frames_in, course).weights
    rows, rests, cells = [], [], 0.0
    fading = course(torch.arange(CLIP.frames_out) + 1, torch.zeros(1, dtype=torch.float64))
    for clip in (each[None] for each in clips):
        observed = clip.isfinite().float()
        values = clip.nan_to_num()
        guess = first_guess(values[:, : CLIP.frames_in], observed[:, : CLIP.frames_in], CLIP.frames_out)
        for k in range(CLIP.frames_out):
            path = guess.paths[:, k : k + 1]
            features, frame = (
                carry(part[:, None], path)[0, 0].double() for part in (guess.features[:, 0], guess.frame)
            )
            inside = carry(torch.ones_like(guess.frame[:, None]), path, padding="zeros")[0, 0, 0]
            weight = (observed[0, CLIP.frames_in + k, 0] * inside).double().sqrt().flatten()
            design = torch.einsum("fhw,j->fjhw", features, fading[k]).flatten(0, 1).flatten(1)
            rows.append((design * weight).T)
            cells += float(weight.square().sum())
            rests.append((values[0, CLIP.frames_in + k, 0].double() - frame[0]).flatten() * weight)
    design, rest = torch.cat(rows).numpy(), torch.cat(rests).numpy()
    damping = np.sqrt(RIDGE * (design**2).sum(axis=0) + FAINT**2 * cells)
    expected = np.linalg.lstsq(
        np.concatenate([design, np.diag(damping)]), np.concatenate([rest, np.zeros(len(damping))]), rcond=None
    )[0]
    # Compared by what they forecast: weights of overlapping features trade against each other.
    got = design @ weights[0].flatten().double().numpy()
    np.testing.assert_allclose(got, design @ expected, atol=1e-3 * np.abs(rest).max())


def test_missing_cells_do_not_count():
    clip = still(3, 0.7)[None]
    left, right = clip.clone(), clip.clone()
    left[:, T:, :, :, 10:] = torch.nan
    right[:, T:, :, :, :10] = torch.nan
    whole, *parts = (moments(part, T) for part in (clip, left, right))
    for of_whole, of_left, of_right in zip(whole, *parts, strict=True):
        assert of_left.isfinite().all()
        assert (of_left - of_whole).abs().max() > 1
        torch.testing.assert_close(of_left + of_right, of_whole)


def test_cells_that_came_from_outside_the_view_do_not_count(monkeypatch: pytest.MonkeyPatch):
    def moving(past: Tensor, observed: Tensor, num_leads: int, **_: bool) -> FirstGuess:  # two columns a lead, exactly
        paths = torch.zeros(1, num_leads, 2, *past.shape[-2:])
        paths[:, :, 0] = -2.0 * torch.arange(1, num_leads + 1).view(1, -1, 1, 1)
        return first_guess(past, observed, num_leads)._replace(paths=paths)

    monkeypatch.setattr(memory, "first_guess", moving)
    clip = still(3, 0.7)[None]
    foreign, native = clip.clone(), clip.clone()
    for lead in range(1, K + 1):
        foreign[:, T + lead - 1, :, :, : 2 * lead] = 10.0
    native[:, T, :, :, 2] = 10.0
    honest, *lied = (moments(part, T)[1] for part in (clip, foreign, native))
    torch.testing.assert_close(lied[0], honest, rtol=0, atol=1e-2)  # shifts by whole cells are whole to rounding
    assert (lied[1] - honest).abs().max() > 100


def test_each_variable_has_a_memory_of_its_own():
    def both(seed: int) -> Tensor:
        return torch.cat((still(seed, 1.0), still(seed + 50, 0.5)), dim=1)

    fit, unseen = fitted(*(both(seed) for seed in range(4))), both(9)
    error = (forecast(fit, unseen) - unseen[T:]).square().mean(dim=(0, 2, 3))
    assert (error < 0.02).all()


def test_what_one_variable_becomes_may_be_told_by_another():
    def turning(seed: int) -> Tensor:
        """The first variable becomes what the second is, the second what the first was with the other sign."""
        first, second = still(seed, 1.0)[0, 0], still(seed + 50, 1.0)[0, 0]
        past = torch.stack([first, second]).expand(T, -1, -1, -1)
        return torch.cat((past, torch.stack([second, -first]).expand(K, -1, -1, -1)))

    fit, unseen = fitted(*(turning(seed) for seed in range(4))), turning(9)
    assert (forecast(fit, unseen) - unseen[T:]).square().mean() < 0.02


def test_variables_that_are_observed_at_different_cells_are_each_fitted_to_their_own():
    clip = torch.cat((still(3, 0.7), still(4, 0.7)), dim=1)
    clip[T:, 1, :, :20] = torch.nan
    gram, moment, square = moments(clip[None], T)
    for c, alone in enumerate((clip.clone(), clip.clone())):
        alone[T:, 1 - c] = torch.where(clip[T:, c].isnan(), torch.nan, 0.0)  # both observed where this one is
        torch.testing.assert_close(moments(alone[None], T)[0][c], gram[c])
        torch.testing.assert_close(moments(alone[None], T)[1][c], moment[c])
        torch.testing.assert_close(moments(alone[None], T)[2][c], square[c])
    assert (gram[0] - gram[1]).abs().max() > 1


def test_a_clip_of_which_nothing_was_observed_changes_nothing():
    nothing = torch.full_like(still(0, 0.8), torch.nan)
    seen = still(1, 0.8)
    for course in (Fading(), Spline(K)):
        torch.testing.assert_close(fit_memory([seen, nothing], T, course), fit_memory([seen], T, course))


def test_a_field_that_swings_is_forecast_to_swing_from_the_first_lead_on_by_a_spline_and_not_by_decays():
    def swinging(seed: int) -> Tensor:
        frame, other = torch.randn(2, 40, 44, generator=torch.Generator().manual_seed(seed))
        angles = 0.2 * (torch.arange(T + 30) - T + 1)  # nearly a whole turn after the last observed frame
        return (angles.cos()[:, None, None] * frame + angles.sin()[:, None, None] * other)[:, None]

    def missed(course: Course) -> Tensor:
        """The share of persistence's squared error that is left, by lead."""
        fit, unseen = fitted(*(swinging(seed) for seed in range(4)), course=course, moves=False), swinging(9)
        errors = forecast(fit, unseen, moves=False) - unseen[T:], unseen[T - 1] - unseen[T:]
        left, told = (error.square().mean(dim=(1, 2, 3)) for error in errors)
        return left[:20] / told[:20]

    assert missed(Spline(30)).max() < 0.05
    assert missed(Fading())[0] > 0.2


def test_more_is_learned_in_units_of_what_the_fit_leaves_at_the_knots():
    clips = [still(seed, 0.8) + 0.1 * still(seed + 20, 0.5).roll(1, dims=0) for seed in range(3)]
    fit = fitted(*clips, course=Spline(K))
    left = torch.stack([(forecast(fit, clip) - clip[T:])[:, 0] for clip in clips]).square().mean(dim=(0, 2, 3)).sqrt()
    # The fit counts no cell whose parcel came from outside, and its residual is on the grid of the truth, too.
    torch.testing.assert_close(fit.units[0], left[torch.tensor(fit.course.knots) - 1], rtol=0.05, atol=1e-3)
    assert (fit.units[0].diff().abs() > 1e-4).all()
    sums = moments(clips[0][None], T)
    nothing = torch.zeros_like(sums.moment)
    torch.testing.assert_close(unexplained(sums, nothing), (sums.square / sums.cells).sqrt())


def test_a_cautious_memory_keeps_of_each_knot_what_it_tells_of_it():
    """Frames that lose more than half at lead 1, and are others from lead 2 on."""
    clips = [torch.cat((still(seed, 0.4)[: T + 1], still(seed + 50, 1.0)[: K - 1])) for seed in range(6)]
    course = Spline(K)
    assert course.knots == (1, 2, 4)
    whole, cautious = (fit_memory(clips, T, course, cautious=each) for each in (False, True))
    for j, knot in enumerate(course.knots):
        change = torch.stack([clip[T - 1 + knot] - clip[T - 1] for clip in clips]).square().mean().sqrt()
        kept = ((BADLY - whole.units[0, j] / change) / (BADLY - WELL)).clamp(0, 1).item()
        assert kept > 0 if knot == 1 else kept == 0
        torch.testing.assert_close(cautious.weights[..., j], kept * whole.weights[..., j], rtol=1e-3, atol=1e-6)
        assert whole.weights[..., j].any()
    torch.testing.assert_close(cautious.units, whole.units, rtol=0, atol=0)


def test_trust_goes_down_from_well_to_badly():
    left = torch.tensor([[0.0, WELL, (WELL + BADLY) / 2, BADLY, 1.0, 0.0]], dtype=torch.float64)
    change = torch.tensor([[1.0, 1.0, 1.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
    assert trust(left, change).tolist() == [[1.0, 1.0, 0.5, 0.0, 0.0, 1.0]]


@pytest.mark.parametrize("flow", ["experts", "none"])
@pytest.mark.parametrize("drawing", [0, 4])
def test_where_a_level_draws_and_nothing_is_carried_the_first_memory_is_cautious(data: Data, drawing: int, flow: str):
    net = data.inputs.build(MODEL.model_copy(update={"drawing": drawing, "flow": flow}), CLIP)
    found = first_memory(net, data.inputs.clips, CLIP.frames_in)
    clips, moves = list(data.inputs.clips.spread(CLIPS)), flow != "none"
    whole, cautious = (
        fit_memory(clips, CLIP.frames_in, net.memory.course, moves=moves, cautious=each)
        for each in ((False, True) if drawing else (False, False))
    )
    assert torch.equal(whole.weights, cautious.weights) == (drawing == 0)
    torch.testing.assert_close(found, cautious if drawing and not moves else whole, rtol=0, atol=0)
