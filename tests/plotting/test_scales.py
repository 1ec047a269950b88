import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import BoundaryNorm
from skimage.color import rgb2lab

from physicnet.plotting import scales
from physicnet.plotting.scales import Scale
from physicnet.plotting.units import Shown


def shown(units: str, **attributes: str) -> Shown:
    return Shown.of(xr.DataArray(np.zeros(1), name="value", attrs={"units": units, **attributes}))


def lightness(scale: Scale, values: np.ndarray) -> np.ndarray:
    """That of the colours of values: what is left of them in print."""
    return rgb2lab(scale.colours(scale.norm(values))[None, :, :3])[0, :, 0]


FRAMES = [np.linspace(-4.0, 10.0, 50).reshape(5, 10)]


def test_rain_has_fixed_classes_each_darker_than_the_one_below_by_the_same_step() -> None:
    scale = scales.scale_of(shown("mm h-1"), FRAMES)
    assert isinstance(scale.norm, BoundaryNorm)
    assert scale.norm.boundaries.tolist() == list(scales.RAIN)
    within = np.array([0.05, 0.15, 0.3, 0.7, 1.5, 3.0, 7.0, 15.0, 30.0, 80.0])
    steps = -np.diff(lightness(scale, within))
    assert (steps > 4).all()
    assert steps[1:] == pytest.approx(steps[1], abs=0.5)
    assert scale.units == "mm h⁻¹"


def test_values_of_one_class_of_rain_have_one_colour() -> None:
    scale = scales.scale_of(shown("mm h-1"), FRAMES)
    assert np.ptp(lightness(scale, np.array([1.0, 1.4, 1.99]))) == 0


def test_a_temperature_is_no_scale_about_zero_whatever_its_signs() -> None:
    scale = scales.scale_of(shown("degC"), FRAMES)
    assert not scale.is_about_zero
    assert (scale.norm.vmin, scale.norm.vmax) == (pytest.approx(-4, abs=0.1), pytest.approx(10, abs=0.1))
    assert (np.diff(lightness(scale, np.linspace(-4, 10, 20))) > 1).all()
    assert scale.units == "°C"


@pytest.mark.parametrize("kind", [shown("m s-1"), shown("degC", standard_name="air_temperature_anomaly")])
def test_components_and_anomalies_lie_about_zero(kind: Shown) -> None:
    scale = scales.scale_of(kind, FRAMES)
    assert scale.is_about_zero
    assert scale.norm.vmax == pytest.approx(10, abs=0.1)
    assert lightness(scale, np.zeros(1))[0] > 95
    assert scale.hatched_below == pytest.approx(-2.5, abs=0.1)


def test_a_lesser_sign_that_hardly_counts_makes_no_scale_about_zero() -> None:
    assert not scales.scale_of(shown("m"), [np.linspace(-1.0, 10.0, 100)]).is_about_zero


def test_what_was_never_observed_and_what_never_changes_have_scales() -> None:
    nothing, same = (scales.scale_of(shown("K"), [np.full((2, 3), value)]) for value in (np.nan, 280.0))
    assert (nothing.norm.vmin, nothing.norm.vmax) == (0, 1)
    assert (same.norm.vmin, same.norm.vmax) == (280, 281)
    assert scales.amount([np.full(3, np.nan)], "m").norm.vmax == 1
    assert scales.errors(np.full((1, 2, 3), np.nan), "m").norm.vmax == 1
    assert scales.about_zero(0.0, "m").norm.vmax == 1


def test_a_speed_begins_at_zero() -> None:
    scale = scales.amount([np.array([0.4, 1.7])], "m s⁻¹")
    assert (scale.norm.vmin, scale.norm.vmax) == (0, 2)
    assert (np.diff(lightness(scale, np.linspace(0, 2, 9))) < -5).all()


def test_errors_reach_as_far_to_either_side_and_few_beyond() -> None:
    differences = np.concatenate([np.linspace(-3.0, 1.0, 999), [80.0]])[None, None]
    scale = scales.errors(differences, "K")
    assert (scale.norm.vmin, scale.norm.vmax) == (-5, 5)
    colours = lightness(scale, np.array([-4.0, 0.0, 4.0]))
    assert colours[1] > max(colours[0], colours[2]) + 40


def test_probabilities_darken_in_steps_of_ten_percent_from_white() -> None:
    scale = scales.probability()
    steps = lightness(scale, np.arange(5.0, 100.0, 10.0))
    assert steps[0] == pytest.approx(100, abs=0.1)
    assert (np.diff(steps) < -4).all()
    assert lightness(scale, np.array([100.0]))[0] == steps[-1]


@pytest.mark.parametrize(("value", "rounded"), [(0.3, 0.5), (2.0, 2.0), (6.0, 10.0), (1100.0, 2000.0), (0.0, 1.0)])
def test_ends_are_round(value: float, rounded: float) -> None:
    assert scales.round_up(value) == pytest.approx(rounded)
