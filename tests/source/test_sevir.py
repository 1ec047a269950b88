from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr
from storms import FRAMES, Storm, write_file, write_sevir

from physicnet.fields import DataError
from physicnet.source import sevir
from physicnet.source.sequences import Written
from physicnet.source.sevir_catalogue import Dates

SIDE = 6
DATES = Dates(datetime(2019, 1, 1), datetime(2019, 6, 1))
FIRST, SECOND = "vil/2018/SEVIR_VIL_STORMEVENTS_2018_0701_1231.h5", "vil/2019/SEVIR_VIL_RANDOMEVENTS_2019_0501_0831.h5"


def images(seed: int) -> np.ndarray:
    """Bytes as VIL is stored, with a corner that no radar sees."""
    stored = np.random.default_rng(seed).integers(255, size=(SIDE, SIDE, FRAMES), dtype=np.uint8)
    stored[:2, :2] = 255
    return stored


STORMS = {
    FIRST: [Storm("S2", "2018-09-02 10:00:00", images(2)), Storm("S1", "2018-07-01 12:00:00", images(1))],
    SECOND: [Storm("R4", "2019-07-04 00:00:00", images(4)), Storm("R3", "2019-05-03 04:30:00", images(3))],
}


@pytest.fixture(autouse=True)
def _small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {name: replace(image, side=SIDE) for name, image in sevir.IMAGES.items()}
    monkeypatch.setattr(sevir, "IMAGES", small)


@pytest.fixture
def storms(tmp_path: Path) -> Path:
    """SEVIR, of four events."""
    write_sevir(tmp_path / "sevir", "vil", STORMS)
    return tmp_path / "sevir"


def write(folder: Path, source: Path, **changed: Any) -> Written:
    plain = {"image": "vil", "every": 1, "cells": 1, "dates": DATES, "complete": False, "there": False, "per_file": 3}
    return sevir.write(folder, source, **(plain | changed))


def read(folder: Path) -> xr.Dataset:
    files = [xr.load_dataset(path, decode_times=False) for path in sorted(folder.glob("sevir_*.nc"))]
    return xr.concat(files, "sequence", data_vars="minimal")


def stored_of(*seeds: int) -> np.ndarray:
    """What the files hold, as `(event, time, y, x)`."""
    return np.stack([images(seed).transpose(2, 0, 1) for seed in seeds])


def only(tmp_path: Path, dataset: str, stored: np.ndarray) -> Path:
    """SEVIR of one event of another type."""
    write_sevir(tmp_path, dataset, {f"{dataset}/2018/SEVIR.h5": [Storm("S1", "2018-07-01 12:00:00", stored)]})
    return tmp_path


def test_events_are_in_the_order_of_time_as_they_are_stored(tmp_path: Path, storms: Path) -> None:
    assert write(tmp_path / "raw", storms) == Written(made=2, known=0)
    found = read(tmp_path / "raw")
    expected = stored_of(1, 2, 3, 4).astype(float)
    np.testing.assert_array_equal(found["vil"], np.where(expected == 255, np.nan, expected))
    assert found["event"].values.tolist() == ["S1", "S2", "R3", "R4"]
    assert found["middle"].values[2] == "2019-05-03T04:30:00"
    assert found["vil"].attrs["units"] == "1"


def test_bytes_stay_bytes(tmp_path: Path, storms: Path) -> None:
    write(tmp_path / "raw", storms)
    with netCDF4.Dataset(next((tmp_path / "raw").iterdir())) as file:
        assert file["vil"].dtype == np.uint8
        assert file["vil"]._FillValue == 255


def test_the_parts_are_told_by_date_and_share_no_event(tmp_path: Path, storms: Path) -> None:
    write(tmp_path / "raw", storms)
    found = read(tmp_path / "raw")
    assert dict(zip(found["event"].values, found["part"].values, strict=True)) == {"S1": 0, "S2": 0, "R3": 1, "R4": 2}


def test_one_image_in_some_may_be_taken(tmp_path: Path, storms: Path) -> None:
    write(tmp_path / "raw", storms, every=2)
    found = read(tmp_path / "raw")
    assert found.sizes["time"] == 25
    assert found["time"].values[:2].tolist() == [0.0, 600.0]
    expected = stored_of(1, 2, 3, 4)[:, ::2].astype(float)
    np.testing.assert_array_equal(found["vil"], np.where(expected == 255, np.nan, expected))


def test_means_of_blocks_leave_out_what_is_missing(tmp_path: Path, storms: Path) -> None:
    write(tmp_path / "raw", storms, cells=3)
    found = read(tmp_path / "raw")
    assert found["y"].values.tolist() == [96.0, 288.0]
    expected = stored_of(1, 2, 3, 4).astype(float)
    blocks = np.where(expected == 255, np.nan, expected).reshape(4, FRAMES, 2, 3, 2, 3)
    np.testing.assert_allclose(found["vil"], np.nanmean(blocks, axis=(3, 5)), rtol=1e-6)


def test_a_block_of_which_less_than_half_is_there_is_missing(tmp_path: Path, storms: Path) -> None:
    write(tmp_path / "raw", storms, cells=2)
    assert np.isnan(read(tmp_path / "raw")["vil"].values[:, :, 0, 0]).all()
    assert not np.isnan(read(tmp_path / "raw")["vil"].values[:, :, 0, 1:]).any()


def test_liquid_follows_the_published_rule(tmp_path: Path, storms: Path) -> None:
    write(tmp_path / "raw", storms, image="vil-liquid")
    found = read(tmp_path / "raw")["vil_liquid"]
    assert found.attrs["units"] == "kg m-2"

    def rule(number: int) -> float:
        if number == 255:
            return np.nan
        if number <= 5:
            return 0.0
        return (number - 2) / 90.66 if number <= 18 else float(np.exp((number - 83.9) / 38.9))

    np.testing.assert_allclose(found, np.vectorize(rule)(stored_of(1, 2, 3, 4)), rtol=1e-5)


def test_infrared_is_in_degrees_and_garbage_is_missing(tmp_path: Path) -> None:
    stored = np.full((SIDE, SIDE, FRAMES), -6512, np.int16)
    stored[0, 0, 0], stored[0, 1, 0], stored[0, 2, 0] = -18312, 32767, -32767
    write(tmp_path / "raw", only(tmp_path / "sevir", "ir069", stored), image="ir069")
    found = read(tmp_path / "raw")["ir069"]
    assert (found.attrs["units"], found.attrs["standard_name"]) == ("degC", "toa_brightness_temperature")
    assert np.isnan(found.values[0, 0, 0, :3]).all()
    np.testing.assert_allclose(found.values[0, 1:], -65.12, rtol=1e-6)


def test_visible_is_a_reflectance(tmp_path: Path) -> None:
    stored = np.full((SIDE, SIDE, FRAMES), 5000, np.int16)
    write(tmp_path / "raw", only(tmp_path / "sevir", "vis", stored), image="vis")
    np.testing.assert_allclose(read(tmp_path / "raw")["vis"], 0.5)


def test_rows_run_north_and_places_are_the_middles_of_cells(tmp_path: Path, storms: Path) -> None:
    write(tmp_path / "raw", storms)
    assert read(tmp_path / "raw")["y"].values.tolist() == [32.0, 96.0, 160.0, 224.0, 288.0, 352.0]


def test_other_events_do_not_go_on_with_the_files(tmp_path: Path, storms: Path) -> None:
    write(tmp_path / "raw", storms)
    assert write(tmp_path / "raw", storms) == Written(made=0, known=2)
    with pytest.raises(DataError, match="was made with every = 1, not 2"):
        write(tmp_path / "raw", storms, every=2)


def test_blocks_that_do_not_divide_an_image_are_refused(tmp_path: Path, storms: Path) -> None:
    with pytest.raises(DataError, match="images of 6 x 6 cells cannot be divided into blocks of 4; take a divisor"):
        write(tmp_path / "raw", storms, cells=4)


@pytest.mark.parametrize(
    ("dataset", "changed", "message"),
    [
        ("vis", {}, "has no datasets id and vil; get SEVIR's file again"),
        ("vil", {"name": "S9"}, "has S9 at 1, where the catalogue has event S1; get file and catalogue of one release"),
        ("vil", {"images": images(1)[:, :5]}, r"dataset vil has the shape \(1, 6, 5, 49\), not \(1, 6, 6, 49\)"),
    ],
)
def test_a_file_that_does_not_hold_what_the_catalogue_says_is_named(
    tmp_path: Path, storms: Path, dataset: str, changed: Mapping[str, Any], message: str
) -> None:
    others = [replace(storm, **changed) for storm in STORMS[FIRST][: 1 if "images" in changed else 2]]
    write_file(storms / "data" / FIRST, dataset, others)
    with pytest.raises(DataError, match=rf"0701_1231\.h5:? {message}"):
        write(tmp_path / "raw", storms)


def test_an_index_beyond_the_file_is_named(tmp_path: Path, storms: Path) -> None:
    write_file(storms / "data" / FIRST, "vil", STORMS[FIRST][:1])
    with pytest.raises(DataError, match="has nothing at 1, where the catalogue has event S1"):
        write(tmp_path / "raw", storms)


def test_a_damaged_file_is_named(tmp_path: Path, storms: Path) -> None:
    (storms / "data" / FIRST).write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=r"0701_1231\.h5 cannot be read as NetCDF"):
        write(tmp_path / "raw", storms)
