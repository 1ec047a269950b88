import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from physicnet.transforms import Decibel, Log1p, Power, Transform, transform_from_dict

RAIN = Decibel(threshold=0.1, floor=-15.0)
TRANSFORMS = [RAIN, Power(0.7), Power(0.5), Log1p(0.5)]
each = pytest.mark.parametrize("transform", TRANSFORMS)

# Single-precision numbers as files hold them; 0.125 and not 0.1, because bounds must be representable.
wet = st.floats(0.125, 512, width=32)
dry = st.floats(0, 0.09375, width=32)
missing = st.just(float("nan"))
zero = st.just(0.0)


def grids(elements: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float32, (3, 5), elements=elements)


@each
@given(grids(wet | zero | missing))
def test_the_inverse_undoes_it_for_arrays_and_tensors(transform: Transform, values: np.ndarray) -> None:
    for form in (values, torch.from_numpy(values)):
        back = transform.inverse(transform.forward(form))
        assert type(back) is type(form)
        np.testing.assert_allclose(np.asarray(back), values, rtol=2e-5)


@each
@given(grids(wet | dry | missing))
def test_arrays_and_tensors_agree(transform: Transform, values: np.ndarray) -> None:
    tensor = transform.forward(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(tensor, transform.forward(values), rtol=1e-5, atol=1e-5)


@each
@given(grids(wet | dry | missing))
def test_missing_stays_missing_and_nothing_else_becomes_it(transform: Transform, values: np.ndarray) -> None:
    forward = transform.forward(values)
    np.testing.assert_array_equal(np.isnan(forward), np.isnan(values))
    np.testing.assert_array_equal(np.isnan(transform.inverse(forward)), np.isnan(values))


@each
@given(wet | dry, wet | dry)
def test_more_never_becomes_less(transform: Transform, one: float, two: float) -> None:
    low, high = transform.forward(np.sort(np.float32([one, two])))
    assert low <= high


@each
def test_single_precision_stays_single_precision(transform: Transform) -> None:
    values = np.ones((3, 5), np.float32)
    assert transform.inverse(transform.forward(values)).dtype == np.float32
    assert transform.inverse(transform.forward(torch.from_numpy(values))).dtype == torch.float32


@given(grids(dry | st.floats(-9, 0, width=32)))
def test_rates_below_the_threshold_return_as_zero(values: np.ndarray) -> None:
    assert (RAIN.forward(values) == -15.0).all()
    assert (RAIN.inverse(RAIN.forward(values)) == 0).all()


@pytest.mark.parametrize("transform", [Power(0.7), Log1p(0.5)])
def test_below_zero_is_zero_both_ways_where_no_negative_value_is_meant(transform: Transform) -> None:
    values = np.array([-4.0, -1e-9])
    assert transform.forward(values).tolist() == transform.inverse(values).tolist() == [0, 0]
    assert transform.smallest == 0
    assert RAIN.smallest == -np.inf


def test_decibels_by_hand() -> None:
    np.testing.assert_allclose(RAIN.forward(np.array([0.0, 0.05, 0.1, 1.0, 100.0])), [-15, -15, -10, 0, 20])
    np.testing.assert_allclose(RAIN.inverse(np.array([-15.0, -10.5, -10.0, 0.0, 20.0])), [0, 0, 0.1, 1, 100])


def test_the_floor_is_dry_however_close_it_lies() -> None:
    transform = Decibel(threshold=1.0, floor=-1e-5)
    np.testing.assert_array_equal(transform.inverse(np.array([-1e-5, 0.0])), [0, 1])


def test_powers_by_hand() -> None:
    root = Power(0.5)
    np.testing.assert_allclose(root.forward(np.array([0.0, 0.25, 9.0])), [0, 0.5, 3])
    np.testing.assert_allclose(root.inverse(np.array([0.0, 0.5, 3.0])), [0, 0.25, 9])


def test_logarithms_by_hand() -> None:
    logarithm = Log1p(0.5)
    np.testing.assert_allclose(logarithm.forward(np.array([0.0, 0.5, 1.5])), [0, np.log(2), np.log(4)])
    np.testing.assert_allclose(logarithm.inverse(np.array([0.0, np.log(2), np.log(4)])), [0, 0.5, 1.5])


@pytest.mark.parametrize(
    ("transform", "slopes"),
    [
        (RAIN, [0, 0, 10 / (np.log(10) * 2.0)]),
        (Power(0.7), [0, 0.7 * 0.05**-0.3, 0.7 * 2.0**-0.3]),
        (Log1p(0.5), [0, 1 / 0.55, 1 / 2.5]),
    ],
)
def test_gradients_pass_and_are_finite_at_zero(transform: Transform, slopes: list[float]) -> None:
    values = torch.tensor([0.0, 0.05, 2.0], requires_grad=True)
    transform.forward(values).sum().backward()
    np.testing.assert_allclose(values.grad, slopes, rtol=1e-6)


@each
def test_a_transform_survives_as_a_dictionary(transform: Transform) -> None:
    assert transform_from_dict(vars(transform)) == transform
