import signal
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import xarray as xr
from xarray.backends import NetCDF4DataStore

from physicnet.data import writing


class Told(Exception):
    """To end."""


def noise(num: int) -> xr.Dataset:
    return xr.Dataset({"noise": ("x", np.random.default_rng(0).normal(size=num))})


def test_a_file_holds_what_is_written(tmp_path: Path) -> None:
    writing.write(noise(7), tmp_path / "new" / "noise.nc", {"noise": {"dtype": np.float32}})
    found = xr.load_dataset(tmp_path / "new" / "noise.nc")
    np.testing.assert_array_equal(found["noise"], noise(7)["noise"].astype(np.float32))


def test_an_error_while_a_file_is_written_leaves_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_variables: object, **_options: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(NetCDF4DataStore, "store", full)
    with pytest.raises(OSError, match="No space left"):
        writing.write(noise(7), tmp_path / "noise.nc", {})
    assert not list(tmp_path.iterdir())


def test_a_signal_while_the_library_writes_ends_it_and_leaves_no_part(tmp_path: Path) -> None:
    """Compressing this takes a second or so; the signal comes before."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise Told

    before = signal.signal(signal.SIGALRM, leave)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(Told):
            writing.write(noise(4_000_000), tmp_path / "noise.nc", {"noise": {"zlib": True}})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not list(tmp_path.iterdir())
