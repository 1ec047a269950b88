"""Each parameter set reads what its source writes, and splits it as that tells."""

import hashlib
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import parameter_sets
import pytest
from digits import as_idx, some_digits
from storms import FRAMES, Storm, write_sevir

from physicnet.config import Params
from physicnet.data.ingest import ingest
from physicnet.data.normalize import split
from physicnet.fields import Field
from physicnet.source import grid, mnist, moving_mnist, seir, sevir
from physicnet.source.reaction_diffusion import SYSTEMS
from physicnet.source.sevir_catalogue import Dates
from physicnet.source.shallow_water import ShallowWater
from physicnet.source.simulation import Simulation, write_simulation
from physicnet.source.smoke import Smoke

SIMULATIONS = {
    **{name: system(num_cells=32) for name, system in SYSTEMS.items()},
    "shallow-water": ShallowWater(32),
    "smoke": Smoke(32, spin_up=0.04),
}


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])


def read(raw: Path, params: Params) -> Field:
    """Ingest as the pipeline does; nothing may be refused."""
    config = params.ingest.model_copy(update={"memory_limit": "64 GiB"})  # of the process of all tests
    paths = {name: raw.parent / name for name in ("fields", "catalogue", "resume")}
    ingest(config, params.clip, raw=raw, **paths).refuse_above(0)
    return Field.open(paths["fields"])


def sizes(field: Field, params: Params) -> list[int]:
    """Return how many sequences the parts have."""
    return [len(segments) for segments in split(field, params.normalize, params.clip).values()]


@pytest.mark.parametrize("name", SIMULATIONS)
def test_of_ten_simulations_eight_train_and_one_tests(name: str, tmp_path: Path) -> None:
    simulation, params = SIMULATIONS[name], parameter_sets.read(name)
    assert isinstance(simulation, Simulation)
    write_simulation(tmp_path / "raw", simulation, 10, params.clip.frames, seed=0, per_file=5)
    field = read(tmp_path / "raw", params)
    assert field.variables == tuple(simulation.variables)
    assert sizes(field, params) == [8, 1, 1]


def test_moving_digits_have_parts_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (mnist.TRAIN, mnist.TEST):
        content = as_idx(some_digits(6))
        (tmp_path / name).write_bytes(content)
        monkeypatch.setitem(mnist.SHA256, name, hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(moving_mnist, "NUM_HELD_APART", 2)
    parts, options = {"train": 2, "validation": 1, "test": 3}, {"num_digits": 2, "seed": 0, "per_file": 4}
    moving_mnist.write(tmp_path / "raw", tmp_path, parts=parts, published=None, **options)
    params = parameter_sets.read("moving-mnist")
    field = read(tmp_path / "raw", params)
    assert sizes(field, params) == [2, 1, 3]
    assert field.frames(0, 20).max() > 200


@pytest.mark.parametrize(
    ("name", "every", "cells"), [("sevir-13-12", 1, 1), ("sevir-10-10", 1, 1), ("sevir-7-6", 2, 3)]
)
def test_storms_have_parts_by_date(
    name: str, every: int, cells: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sevir, "IMAGES", {"vil": replace(sevir.IMAGES["vil"], side=6)})
    times = ["2018-07-01 12:00:00", "2018-08-01 12:00:00", "2019-03-01 12:00:00", "2019-07-01 12:00:00"]
    images = np.random.default_rng(0).integers(255, size=(4, 6, 6, FRAMES), dtype=np.uint8)
    storms = [Storm(f"S{index}", time, images[index]) for index, time in enumerate(times)]
    write_sevir(tmp_path / "sevir", "vil", {"vil/storms.h5": storms})
    dates = Dates(datetime(2019, 1, 1), datetime(2019, 6, 1))
    form = {"image": "vil", "every": every, "cells": cells, "dates": dates}
    sevir.write(tmp_path / "raw", tmp_path / "sevir", **form, complete=True, there=False, per_file=3)
    params = parameter_sets.read(name)
    field = read(tmp_path / "raw", params)
    assert sizes(field, params) == [2, 1, 1]
    assert field.step == np.timedelta64(5 * every, "m")


def test_cases_are_one_series_of_six_years(tmp_path: Path) -> None:
    seir.write(tmp_path / "cases.csv", seir.Epidemic(side=9, years=6.0))
    gridding = grid.Gridding.of("cells", 1.0, "7D", None, absent_is_zero=False)
    (tmp_path / "raw").mkdir()
    options = {"width": None, "is_events": False, "name": "cases"}
    grid.convert(tmp_path / "cases.csv", tmp_path / "raw" / "cases.nc", gridding, {}, **options)
    params = parameter_sets.read("epidemic")
    field = read(tmp_path / "raw", params)
    assert field.shape == (313, 1, 9, 9)
    assert all(length == 1 for length in sizes(field, params))
