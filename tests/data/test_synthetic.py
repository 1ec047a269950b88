from math import tau
from pathlib import Path

import numpy as np
import pytest
from samples import clip_config, ingest_config

from physicnet.data.ingest import ingest
from physicnet.data.synthetic import (
    Expansion,
    Flow,
    Rotation,
    Shear,
    Uniform,
    Waves,
    advected_field,
    velocity,
    write_netcdf,
)
from physicnet.fields import Field


def test_a_whole_pixel_flow_shifts_rows_and_columns() -> None:
    frames = advected_field(4, 11, 13, flow=Uniform(x=2.0, y=-1.0)).frames(0, 4)[:, 0]
    for step in range(3):
        np.testing.assert_allclose(frames[step + 1, :-1, 2:], frames[step, 1:, :-2], rtol=1e-5)


def test_a_quarter_turn_goes_from_x_towards_y() -> None:
    frames = advected_field(2, 9, 9, flow=Rotation(angle=tau / 4, x=4.0, y=4.0)).frames(0, 2)[:, 0]
    np.testing.assert_allclose(frames[1], np.rot90(frames[0], k=-1), rtol=1e-4)


def test_the_centre_of_a_rotation_stays() -> None:
    frames = advected_field(5, 7, 9, flow=Rotation(angle=0.3, x=5.0, y=2.0)).frames(0, 5)
    np.testing.assert_allclose(frames[:, 0, 2, 5], frames[0, 0, 2, 5], rtol=1e-6)


def test_a_shear_shifts_each_row_by_its_own_distance() -> None:
    frames = advected_field(3, 7, 15, flow=Shear(rate=1.0, y=4.0)).frames(0, 3)[:, 0]
    np.testing.assert_allclose(frames[:, 4], frames[[0, 0, 0], 4], rtol=1e-6)
    np.testing.assert_allclose(frames[2, 6, 4:], frames[0, 6, :-4], rtol=1e-5)
    np.testing.assert_allclose(frames[2, 3, :-2], frames[0, 3, 2:], rtol=1e-5)


def test_an_expansion_doubles_distances_from_its_centre() -> None:
    frames = advected_field(2, 9, 13, flow=Expansion(rate=float(np.log(2)), x=6.0, y=4.0)).frames(0, 2)[:, 0]
    np.testing.assert_allclose(frames[1, ::2, ::2], frames[0, 2:7, 3:10], rtol=1e-5)


def test_velocities_by_hand() -> None:
    y, x = np.mgrid[:5, :7].astype(float)
    zero = np.zeros_like(x)
    expected = {
        Uniform(x=1.5, y=-0.5): (zero + 1.5, zero - 0.5),
        Rotation(angle=0.1, x=2.0, y=3.0): (-0.1 * (y - 3), 0.1 * (x - 2)),
        Shear(rate=0.2, y=1.0): (0.2 * (y - 1), zero),
        Expansion(rate=-0.1, x=2.0, y=3.0): (-0.1 * (x - 2), -0.1 * (y - 3)),
    }
    for flow, components in expected.items():
        np.testing.assert_allclose(velocity(flow, x, y), np.stack(components), atol=1e-8)


@pytest.mark.parametrize(
    "flow",
    [
        Uniform(x=1.5, y=0.5),
        Rotation(angle=0.05, x=8.0, y=6.0),
        Shear(rate=0.1, y=5.0),
        Expansion(rate=0.05, x=8.0, y=6.0),
    ],
)
def test_a_carried_pattern_obeys_the_advection_equation(flow: Flow) -> None:
    y, x = np.mgrid[:12, :17].astype(float)
    pattern, small = Waves(num=6, wavelength=12.0, seed=1), 1e-4

    def at(steps: float, right: float = 0.0, down: float = 0.0) -> np.ndarray:
        return pattern.at(*flow.departure(x + right, y + down, steps))

    back = flow.departure(x, y, small)
    u, v = (x - back[0]) / small, (y - back[1]) / small
    change = (at(small) - at(-small)) / (2 * small)
    slope_x = (at(0.0, right=small) - at(0.0, right=-small)) / (2 * small)
    slope_y = (at(0.0, down=small) - at(0.0, down=-small)) / (2 * small)
    np.testing.assert_allclose(change, -(u * slope_x + v * slope_y), atol=1e-4)


def test_the_pattern_is_positive_seeded_and_of_unit_variance() -> None:
    y, x = np.mgrid[:200, :200].astype(float)
    values = Waves(num=40, wavelength=8.0, seed=2).at(x, y)
    assert values.min() > 0
    np.testing.assert_allclose(np.log(values).std(), 1.0, atol=0.15)
    assert not np.allclose(values, Waves(num=40, wavelength=8.0, seed=3).at(x, y))


def test_a_written_field_is_raw_input_of_the_pipeline(tmp_path: Path) -> None:
    field = advected_field(4, 5, 7, flow=Uniform(x=1.0, y=0.0))
    write_netcdf(field, tmp_path / "raw" / "field.nc")
    ingest(
        ingest_config(),
        clip_config(),
        raw=tmp_path / "raw",
        fields=tmp_path / "fields.zarr",
        catalogue=tmp_path / "catalogue",
        resume=tmp_path / "state",
    )
    back = Field.open(tmp_path / "fields.zarr")
    np.testing.assert_array_equal(back.frames(0, 4), field.frames(0, 4))
    assert (back.step, back.units) == (field.step, field.units)
