"""A store that is killed at whatever moment holds whole forecasts alone, and goes on to what it would have been."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from forecasting import samples
from forecasting.storing import Storing

from physicnet.forecasting import cf, store
from physicnet.forecasting.loading import Model

MINUTES = (10, 15, 20, 25)
SAMPLE, SEED = 6, 0  # of the moments, of which there are some hundreds


@pytest.fixture
def storing(model: Model, file: Path, tmp_path: Path) -> Iterator[Storing]:
    for minute in MINUTES:
        cf.write(tmp_path / "files" / f"{minute}.nc", model.forecast(file, at=samples.at(minute)))
    program = Storing(tmp_path / "files")
    yield program
    program.close()


def held(path: Path) -> list[xr.Dataset]:
    return [forecast.load().drop_attrs() for forecast in store.each(path)] if path.exists() else []


@pytest.mark.parametrize("there", [0, 2])
def test_killed_and_run_again_is_as_never_killed(storing: Storing, tmp_path: Path, there: int) -> None:
    """A store is made, or one that is there is made longer and filled."""
    short, whole = tmp_path / "short.zarr", tmp_path / "whole.zarr"
    if there:
        assert storing(short, there) == 0
        shutil.copytree(short, whole)
    assert storing(whole, len(MINUTES)) == 0
    expected = [cf.read(path).drop_attrs() for path in sorted((tmp_path / "files").iterdir())]
    moments = np.arange(1, storing.moments(whole) + 1)
    for moment in np.random.default_rng(SEED).choice(moments, SAMPLE, replace=False).tolist():
        path = tmp_path / f"{moment}.zarr"
        if there:
            shutil.copytree(short, path)
        assert storing(path, len(MINUTES), moment=moment) == -signal.SIGKILL
        left = held(path)
        assert len(left) >= there
        for one, other in zip(left, expected, strict=False):
            xr.testing.assert_identical(one, other)
        assert storing(path, len(MINUTES)) == 0
        for one, other in zip(held(path), expected, strict=True):
            xr.testing.assert_identical(one, other)
