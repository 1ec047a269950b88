"""The exponential time step: exact where an equation is linear, of fourth order where it is not, stiff or not."""

import numpy as np
import pytest

from physicnet.source.exponential import Etdrk4


def ones(*values: float) -> np.ndarray:
    return np.array(values).reshape(1, 1, -1)


def test_a_linear_equation_is_exact_at_any_step() -> None:
    rates = ones(0.0, -1e-9, -1.0, -1e4)
    after = Etdrk4(rates, step=0.7).advance(ones(1.0, 1.0, 1.0, 1.0), np.zeros_like)
    np.testing.assert_allclose(after, np.exp(0.7 * rates), rtol=1e-13)


def test_a_constant_source_is_exact_near_zero_rates_too() -> None:
    rates = ones(0.0, -1e-9, -1e-3, -2.0, -1e4)
    after = Etdrk4(rates, step=0.5).advance(np.zeros_like(rates), np.ones_like)
    with np.errstate(invalid="ignore"):
        exact = np.where(rates == 0, 0.5, np.expm1(0.5 * rates) / rates)
    np.testing.assert_allclose(after, exact, rtol=1e-12)


def logistic(rate: float, step: float) -> float:
    """Return u at time 2 of u' = rate u - u², u(0) = 0.1."""
    scheme, state = Etdrk4(ones(rate), step), ones(0.1)
    for _ in range(round(2 / step)):
        state = scheme.advance(state, lambda u: -(u**2))
    return state.item()


@pytest.mark.parametrize("rate", [0.0, -1.0, 1.0])
def test_the_order_is_four(rate: float) -> None:
    exact = 0.1 / 1.2 if rate == 0 else rate / (1 + (rate / 0.1 - 1) * np.exp(-2 * rate))
    errors = [abs(logistic(rate, step) - exact) for step in (0.4, 0.2, 0.1)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 4, atol=0.4)
