import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from physicnet.fields import DataError
from physicnet.source import sequences
from physicnet.source.sequences import Kind, Written

NUM, FRAMES, HEIGHT, WIDTH = 7, 3, 5, 4
WAVES = Kind(
    name="waves",
    title="Waves",
    references="nobody",
    license="CC0-1.0",
    variables={"height": {"units": "m", "long_name": "height of the surface"}},
    settings={"seed": 3, "sizes": (1, 2)},
    num_frames=FRAMES,
    step=60.0,
    y=np.arange(HEIGHT) * 2.0,
    x=np.arange(WIDTH) * 2.0,
    length_units="km",
)
PARTS = {"train": 4, "validation": 1, "test": 2}


def waves(numbers: range) -> Mapping[str, np.ndarray]:
    shape = (FRAMES, HEIGHT, WIDTH)
    return {"height": np.stack([np.random.default_rng([3, number]).normal(size=shape) for number in numbers])}


def counted(numbers: range) -> Mapping[str, np.ndarray]:
    return {"height": np.stack([np.full((FRAMES, HEIGHT, WIDTH), number, np.uint8) for number in numbers])}


def never(numbers: range) -> Mapping[str, np.ndarray]:
    raise AssertionError(f"{numbers} are made again")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stored(folder: Path) -> xr.Dataset:
    return xr.concat([opened(path) for path in sorted(folder.glob("*.nc"))], "sequence", data_vars="minimal")


def opened(path: Path) -> xr.Dataset:
    with xr.open_dataset(path, engine="netcdf4", decode_times=False, mask_and_scale=False) as dataset:
        return dataset.load()


def test_sequences_are_told_apart_and_count_their_own_time(tmp_path: Path) -> None:
    assert sequences.write(tmp_path / "new" / "raw", WAVES, NUM, waves, per_file=3) == Written(made=3, known=0)
    assert names(tmp_path / "new" / "raw") == [
        f"waves_{each}.nc" for each in ("000000-000002", "000003-000005", "000006-000006")
    ]
    found = stored(tmp_path / "new" / "raw")
    assert found["height"].dims == ("sequence", "time", "y", "x")
    np.testing.assert_array_equal(found["height"], waves(range(NUM))["height"].astype(np.float32))
    np.testing.assert_array_equal(found["sequence"], np.arange(NUM))
    np.testing.assert_array_equal(found["time"], [0.0, 60.0, 120.0])
    assert found["sequence"].attrs["standard_name"] == "realization"
    assert found["time"].attrs["units"] == "seconds since 2000-01-01 00:00:00"


def test_places_have_the_standard_names_of_their_axes_if_they_are_lengths(tmp_path: Path) -> None:
    sequences.write(tmp_path / "km", WAVES, 1, waves, per_file=1)
    sequences.write(tmp_path / "cells", replace(WAVES, length_units="1"), 1, waves, per_file=1)
    expected = {"units": "km", "axis": "Y", "standard_name": "projection_y_coordinate"}
    assert stored(tmp_path / "km")["y"].attrs == expected
    assert "standard_name" not in stored(tmp_path / "cells")["x"].attrs


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    sequences.write(tmp_path, WAVES, NUM, waves, per_file=NUM)
    found = stored(tmp_path)
    assert found["height"].attrs["units"] == "m"
    assert [found.attrs[name] for name in ("title", "references", "license")] == ["Waves", "nobody", "CC0-1.0"]
    assert json.loads(found.attrs["physicnet_source"]) == {"seed": 3, "sizes": [1, 2]}


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    sequences.write(tmp_path, WAVES, NUM, waves, per_file=3)
    before = contents(tmp_path)
    assert sequences.write(tmp_path, WAVES, NUM, never, per_file=3) == Written(made=0, known=3)
    (tmp_path / "waves_000003-000005.nc").unlink()
    assert sequences.write(tmp_path, WAVES, NUM, waves, per_file=3) == Written(made=1, known=2)
    assert contents(tmp_path) == before


def test_more_sequences_are_added_to_whole_files(tmp_path: Path) -> None:
    sequences.write(tmp_path, WAVES, 4, waves, per_file=2)
    assert sequences.write(tmp_path, WAVES, 6, waves, per_file=2) == Written(made=1, known=2)
    np.testing.assert_array_equal(stored(tmp_path)["sequence"], np.arange(6))


def test_a_run_that_ends_half_way_leaves_whole_files_alone_and_is_gone_on_with(tmp_path: Path) -> None:
    def interrupted(numbers: range) -> Mapping[str, np.ndarray]:
        if 3 in numbers:
            raise KeyboardInterrupt
        return waves(numbers)

    with pytest.raises(KeyboardInterrupt):
        sequences.write(tmp_path / "raw", WAVES, NUM, interrupted, per_file=3)
    assert names(tmp_path / "raw") == ["waves_000000-000002.nc"]
    assert sequences.write(tmp_path / "raw", WAVES, NUM, waves, per_file=3) == Written(made=2, known=1)
    sequences.write(tmp_path / "whole", WAVES, NUM, waves, per_file=3)
    assert contents(tmp_path / "raw") == contents(tmp_path / "whole")


def test_what_a_killed_run_left_half_written_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".waves_000000-000002.nc.partial").write_bytes(b"half")
    sequences.write(tmp_path, WAVES, 3, waves, per_file=3)
    assert names(tmp_path) == ["waves_000000-000002.nc"]


def test_values_do_not_depend_on_how_many_are_in_a_file(tmp_path: Path) -> None:
    for per_file in (1, 3, NUM, 100):
        sequences.write(tmp_path / str(per_file), WAVES, NUM, waves, per_file=per_file)
        xr.testing.assert_identical(stored(tmp_path / str(per_file)), stored(tmp_path / "1"))


def test_files_of_other_settings_are_refused(tmp_path: Path) -> None:
    sequences.write(tmp_path, WAVES, NUM, waves, per_file=3)
    with pytest.raises(DataError, match=r"waves_000000-000002\.nc was made with seed = 3, not 4; name another folder"):
        sequences.write(tmp_path, replace(WAVES, settings={"seed": 4, "sizes": (1, 2)}), NUM, never, per_file=3)


def test_files_of_other_parts_are_refused(tmp_path: Path) -> None:
    sequences.write(tmp_path, replace(WAVES, parts=PARTS), NUM, waves, per_file=NUM)
    with pytest.raises(DataError, match=r"made with parts = {'test': 2, 'train': 4, 'validation': 1}, not {'train': 5"):
        sequences.write(tmp_path, replace(WAVES, parts={"train": 5, "test": 2}), NUM, never, per_file=NUM)


def test_a_file_of_another_origin_is_refused(tmp_path: Path) -> None:
    waves_of_others = xr.Dataset({"height": ("x", [1.0])})
    waves_of_others.to_netcdf(tmp_path / "waves_000000-000006.nc", engine="netcdf4")
    with pytest.raises(DataError, match="was made with seed = None, not 3"):
        sequences.write(tmp_path, WAVES, NUM, never, per_file=NUM)


@pytest.mark.parametrize(("num", "per_file"), [(NUM, 2), (NUM + 1, 3)])
def test_files_of_other_ranges_are_refused(tmp_path: Path, num: int, per_file: int) -> None:
    sequences.write(tmp_path, WAVES, NUM, waves, per_file=3)
    with pytest.raises(DataError, match="it is of another number of sequences, in all or in a file; name another fold"):
        sequences.write(tmp_path, WAVES, num, never, per_file=per_file)


def test_other_files_of_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "radar_20100826.nc").write_bytes(b"another archive")
    sequences.write(tmp_path, WAVES, NUM, waves, per_file=NUM)
    assert names(tmp_path) == ["radar_20100826.nc", "waves_000000-000006.nc"]


def test_each_sequence_tells_its_part(tmp_path: Path) -> None:
    sequences.write(tmp_path, replace(WAVES, parts=PARTS), NUM, waves, per_file=3)
    part = stored(tmp_path)["part"]
    assert part.dims == ("sequence",)
    meanings = part.attrs["flag_meanings"].split()
    assert [meanings[flag] for flag in part.values] == ["train"] * 4 + ["validation"] + ["test"] * 2


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (range(7), [("train", range(4)), ("validation", range(1)), ("test", range(2))]),
        (range(1, 3), [("train", range(1, 3))]),
        (range(3, 6), [("train", range(3, 4)), ("validation", range(1)), ("test", range(1))]),
        (range(6, 7), [("test", range(1, 2))]),
    ],
)
def test_a_range_of_sequences_is_told_by_part(numbers: range, expected: list[tuple[str, range]]) -> None:
    assert list(sequences.by_part(PARTS, numbers)) == expected


def test_a_part_may_be_empty(tmp_path: Path) -> None:
    sequences.write(tmp_path, replace(WAVES, parts={"test": NUM}), NUM, waves, per_file=3)
    assert set(stored(tmp_path)["part"].values) == {2}


def test_sequences_that_were_read_tell_what_they_are(tmp_path: Path) -> None:
    labels = [f"clip {number}" for number in range(NUM)]
    sequences.write(tmp_path, replace(WAVES, labels={"clip": labels}), NUM, waves, per_file=3)
    assert stored(tmp_path)["clip"].values.tolist() == labels


def test_whole_numbers_are_kept_as_bytes(tmp_path: Path) -> None:
    sequences.write(tmp_path, replace(WAVES, is_packed=True), NUM, counted, per_file=3)
    found = stored(tmp_path)["height"]
    assert found.dtype == np.uint8
    assert "_FillValue" not in found.attrs
    np.testing.assert_array_equal(found, counted(range(NUM))["height"])


def test_a_byte_may_stand_for_no_value(tmp_path: Path) -> None:
    sequences.write(tmp_path, replace(WAVES, is_packed=True, missing=2), NUM, counted, per_file=NUM)
    with xr.open_dataset(tmp_path / "waves_000000-000006.nc", decode_times=False) as found:
        assert np.isnan(found["height"][:, 0, 0, 0].values).tolist() == [number == 2 for number in range(NUM)]
