import errno
import os
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import xarray as xr
from samples import ingest_config, raw_dataset, variable

from physicnet.config import VariableConfig
from physicnet.data import survey as module
from physicnet.data.budget import Budget
from physicnet.data.sources import Source
from physicnet.data.state import State
from physicnet.data.survey import Refusal, Survey, check_unchanged, frame_statistics, reason_of, refusal_of, survey
from physicnet.fields import DataError

BUDGET = Budget(2**20, 1, 0)
RATE = VariableConfig.model_validate(variable("rate", "mm h-1", valid_min=0.5, valid_max=6.0))


def lazy(dataset: xr.Dataset) -> xr.DataArray:
    return dataset["rate"].astype(np.float64).chunk({"time": 2, "north": 4})


def test_statistics_of_a_frame_equal_one_line_of_numpy_each() -> None:
    values = raw_dataset()["rate"].values.astype(np.float64)
    table = frame_statistics(lazy(raw_dataset()), RATE, BUDGET)
    valid = (values >= 0.5) & (values <= 6.0)
    assert table["observed"].tolist() == np.isfinite(values).sum(axis=(1, 2)).tolist()
    assert table["invalid"].tolist() == (np.isfinite(values) & ~valid).sum(axis=(1, 2)).tolist()
    assert table["min"].tolist() == np.where(valid, values, np.inf).min(axis=(1, 2)).tolist()
    assert table["max"].tolist() == np.where(valid, values, -np.inf).max(axis=(1, 2)).tolist()


def test_a_frame_without_valid_values_has_no_range() -> None:
    table = frame_statistics(lazy(raw_dataset() * 0), RATE, BUDGET)
    assert table[["min", "max"]].isna().all(axis=None)


def test_digests_are_those_of_the_values_and_of_nothing_else() -> None:
    array = lazy(raw_dataset() * 0)
    flipped = array.where(array.isnull(), -0.0)
    bits = np.uint64(0x7FF8_0000_DEAD_BEEF).view(np.float64)
    settings = VariableConfig.model_validate(variable("rate", "mm h-1"))
    digests = frame_statistics(array, settings, BUDGET)["digest"]
    assert digests.nunique() == 1
    for other, budget in [(flipped, BUDGET), (array.where(array.notnull(), bits), BUDGET), (array, Budget(100, 1, 0))]:
        assert frame_statistics(other, settings, budget)["digest"].tolist() == digests.tolist()
    assert frame_statistics(array + 1, settings, BUDGET)["digest"][0] != digests[0]


def source(path: Path) -> Source:
    return Source(path.name, path, path.parent)


def test_equal_content_is_read_once(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    (raw / "b.nc").write_bytes((raw / "a.nc").read_bytes())
    state = State(raw.parent / "state")
    first = survey(source(raw / "a.nc"), config=ingest_config(), budget=BUDGET, state=state)
    monkeypatch.setattr(module, "frame_statistics", None)
    second = survey(source(raw / "b.nc"), config=ingest_config(coarsen=2), budget=BUDGET, state=state)
    assert isinstance(first, Survey)
    assert isinstance(second, Survey)
    assert first.frames.equals(second.frames)


def test_other_limits_are_other_statistics(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    state = State(raw.parent / "state")
    survey(source(raw / "a.nc"), config=ingest_config(), budget=BUDGET, state=state)
    config = ingest_config(variables=[variable("rate", "mm h-1", valid_max=1.0)])
    found = survey(source(raw / "a.nc"), config=config, budget=BUDGET, state=state)
    assert isinstance(found, Survey)
    assert found.frames["invalid"].sum() > 0


def test_a_file_that_was_not_understood_keeps_its_hash(raw: Path) -> None:
    (raw / "a.nc").write_text("<html>")
    found = survey(source(raw / "a.nc"), config=ingest_config(), budget=BUDGET, state=None)
    assert isinstance(found, Refusal)
    assert len(found.sha256) == 64


def test_a_changed_file_is_named(raw: Path) -> None:
    (raw / "a.nc").write_text("one")
    with pytest.raises(DataError, match="it changed while it was read; run again when it is complete"):
        check_unchanged(source(raw / "a.nc"), (0, 0))


def test_a_vanished_file_is_named(raw: Path) -> None:
    with pytest.raises(DataError, match="it vanished while it was read"):
        check_unchanged(source(raw / "a.nc"), (0, 0))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PermissionError(13, "no"), "it may not be read (permission denied); change its permissions"),
        (FileNotFoundError(2, "no"), "it vanished while it was read; bring it back or run again"),
        (DataError("/raw/a.nc: it is odd"), "it is odd"),
        (DataError("/raw/a.nc has no x"), "a.nc has no x"),
        (RuntimeError("NetCDF:\n HDF error"), "it cannot be read (RuntimeError: NetCDF: HDF error); repair it"),
    ],
)
def test_reasons_are_the_same_wherever_the_folder_lies(error: Exception, expected: str) -> None:
    assert reason_of(Source("a.nc", Path("/raw/a.nc"), Path("/raw")), error) == expected


@pytest.mark.parametrize("trouble", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), PermissionError(13, "no")])
def test_a_state_that_cannot_be_written_refuses_no_file(raw: Path, trouble: OSError) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    with patch.object(State, "keep_table", side_effect=trouble), pytest.raises(type(trouble), match=trouble.strerror):
        survey(source(raw / "a.nc"), config=ingest_config(), budget=BUDGET, state=State(raw.parent / "state"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_an_error_of_the_machine_refuses_no_file(number: int) -> None:
    wrapped = DataError("a.nc cannot be read as NetCDF")
    wrapped.__cause__ = OSError(number, "of the machine")
    for error in (wrapped.__cause__, wrapped):
        with pytest.raises(OSError, match="of the machine"):
            refusal_of(Source("a.nc", Path("/raw/a.nc"), Path("/raw")), error)


def test_memory_that_does_not_suffice_refuses_no_file(raw: Path) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    with (
        patch.object(module, "frame_statistics", side_effect=MemoryError("all taken")),
        pytest.raises(MemoryError, match="all taken"),
    ):
        survey(source(raw / "a.nc"), config=ingest_config(), budget=BUDGET, state=None)


def test_an_error_of_the_file_refuses_it() -> None:
    found = refusal_of(Source("a.nc", Path("/raw/a.nc"), Path("/raw")), OSError(errno.EIO, "bad sector"), "hash")
    assert found == Refusal(
        Source("a.nc", Path("/raw/a.nc"), Path("/raw")),
        "it cannot be read (OSError: [Errno 5] bad sector); repair it",
        "hash",
    )
