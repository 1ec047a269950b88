from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import brentq

from physicnet.source import grid, seir
from physicnet.source.grid import Gridding
from physicnet.source.seir import Epidemic, Seir, State

EVERYWHERE = np.ones((3, 5), bool)
CLOSED = Seir(EVERYWHERE, reproduction=3.0, birth_rate=0.0, forcing=0.0)


def uniform(susceptible: float, infectious: float) -> State:
    return np.stack([np.full((3, 5), share) for share in (susceptible, 0, infectious, 1 - susceptible - infectious, 0)])


def end(model: Seir, state: State, weeks: int) -> State:
    *_, last = model.run(state, weeks, days=7.0, substeps=4)
    return last


def infected(state: State) -> float:
    return float((state[1] + state[2]).sum())


@pytest.mark.parametrize("model", [CLOSED, Seir(EVERYWHERE)])
def test_nobody_is_lost(model: Seir) -> None:
    for state in model.run(uniform(0.3, 1e-3), 40, days=7.0, substeps=4):
        np.testing.assert_allclose(state[:4].sum(axis=0), 1, atol=1e-12)
        assert state.min() >= 0


def test_an_epidemic_ends_with_as_many_susceptible_as_kermack_and_mckendrick_say() -> None:
    """ln(s / s0) = -R0 (s0 + i0 - s), of a closed population."""
    s0, i0 = 0.95, 1e-3
    last = end(CLOSED, uniform(s0, i0), 80)
    expected = brentq(lambda s: np.log(s / s0) + CLOSED.reproduction * (s0 + i0 - s), 1e-9, 0.9)
    np.testing.assert_allclose(last[0], expected, rtol=1e-4)
    assert infected(last) < 1e-6
    np.testing.assert_allclose(last[4], s0 - last[0], rtol=1e-5)  # all who were infected became infectious


def test_below_one_new_infection_each_it_dies_out() -> None:
    model, state = replace(CLOSED, reproduction=0.8), uniform(0.99, 0.01)
    course = [infected(each) for each in model.run(state, 60, days=7.0, substeps=4)]
    assert course[-1] < 1e-3 * infected(state)
    assert (np.diff(course) < 0).all()


def test_births_keep_it_at_the_endemic_share_of_susceptible_people() -> None:
    """1 / R0, where some of the infected die before they infect others."""
    model = Seir(EVERYWHERE, forcing=0.0, birth_rate=2.0, reproduction=4.0)
    last = end(model, uniform(0.26, 6e-3), 200)
    mu, sigma, gamma = 2 / 365, 1 / 8, 1 / 5
    np.testing.assert_allclose(last[0], (sigma + mu) * (gamma + mu) / (sigma * gamma * 4.0), rtol=1e-4)


def test_it_spreads_to_neighbours_alone() -> None:
    state = seir.beginning(EVERYWHERE, 0.5, 0.01)
    assert np.argwhere(state[2]).tolist() == [[1, 2]]
    change = CLOSED.change(state, 0.0)
    assert sorted(map(tuple, np.argwhere(change[1] > 0).tolist())) == [(0, 2), (1, 1), (1, 2), (1, 3), (2, 2)]


def test_it_does_not_leap_over_water() -> None:
    populated = np.array([[True, True, False, True, True]])
    model = replace(CLOSED, populated=populated)
    state = np.stack([np.where(populated, share, 0) for share in (0.9, 0, 0, 0.1, 0)])
    state[2, 0, 0] = 0.01
    assert end(model, state, 50)[4, 0].tolist() == pytest.approx([0.8, 0.8, 0, 0, 0], abs=0.1)


def test_halving_the_step_hardly_changes_it() -> None:
    coarse, fine = (next(Seir(EVERYWHERE).run(uniform(0.2, 1e-2), 1, days=70.0, substeps=n)) for n in (70, 140))
    np.testing.assert_allclose(coarse, fine, atol=1e-5)


def test_reports_are_whole_numbers_of_the_island(tmp_path: Path) -> None:
    epidemic = Epidemic(side=5, years=0.5)
    reports = np.stack(list(epidemic.reports()))
    assert reports.shape == (26, 5, 5)
    np.testing.assert_array_equal(np.isnan(reports), np.broadcast_to(~epidemic.populated(), reports.shape))
    assert np.isnan(reports[0, 0, 0])
    np.testing.assert_array_equal(reports[:, 2, 2], np.round(reports[:, 2, 2]))
    assert np.nansum(reports) > 100


def test_the_table_says_that_it_is_simulated_and_becomes_the_same_numbers(tmp_path: Path) -> None:
    epidemic = Epidemic(side=5, years=0.5, seed=4)
    seir.write(tmp_path / "table.csv", epidemic)
    assert (tmp_path / "table.csv").read_text().startswith("# Simulated epidemic, no observations")
    weekly = Gridding.of("cells", 1.0, "7D", None, absent_is_zero=False)
    grid.convert(tmp_path / "table.csv", tmp_path / "c.nc", weekly, {}, width=None, is_events=False, name="cases")
    found = xr.load_dataset(tmp_path / "c.nc")
    np.testing.assert_array_equal(found["cases"], np.stack(list(epidemic.reports())))
    assert found.attrs["title"].startswith("Simulated epidemic, no observations")
    assert "side 5, years 0.5" in found.attrs["source"]
