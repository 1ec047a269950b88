"""Writes files of SEVIR's layout: a catalogue, and HDF5 with the datasets `id` and one of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd

FRAMES = 49


@dataclass(frozen=True)
class Storm:
    """An event: its id, the time of its middle, and its images `(y, x, time)` of one type as they are stored."""

    name: str
    time: str
    images: np.ndarray
    pct_missing: float = 0.0


def write_file(path: Path, dataset: str, storms: Sequence[Storm]) -> None:
    """Write a file of images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = np.stack([storm.images for storm in storms])
    with netCDF4.Dataset(path, "w") as file:
        for name, size in zip(("phony_0", "phony_1", "phony_2", "phony_3"), images.shape, strict=True):
            file.createDimension(name, size)
        file.createVariable("id", str, ("phony_0",))[:] = np.array([storm.name for storm in storms], object)
        variable = file.createVariable(
            dataset, images.dtype, tuple(file.dimensions), zlib=True, chunksizes=(1, *images.shape[1:])
        )
        variable.set_auto_maskandscale(False)
        variable[:] = images


def write_sevir(folder: Path, dataset: str, files: Mapping[str, Sequence[Storm]]) -> pd.DataFrame:
    """Write files, and the catalogue that names their events, which is returned."""
    rows = []
    for name, storms in files.items():
        write_file(folder / "data" / name, dataset, storms)
        rows += [row(storm, name, index, dataset) for index, storm in enumerate(storms)]
    catalogue = pd.DataFrame(rows)
    catalogue.to_csv(folder / "CATALOG.csv", index=False)
    return catalogue


def row(storm: Storm, file: str, index: int, dataset: str) -> dict[str, object]:
    """Return a row of the catalogue, with SEVIR's columns."""
    return {
        "id": storm.name,
        "file_name": file,
        "file_index": index,
        "img_type": dataset,
        "time_utc": storm.time,
        "minute_offsets": ":".join(str(minute) for minute in range(-120, 125, 5)),
        "episode_id": None,
        "event_id": None,
        "event_type": None,
        "llcrnrlat": 35.0,
        "llcrnrlon": -98.0,
        "urcrnrlat": 38.5,
        "urcrnrlon": -94.0,
        "proj": "+proj=laea +lat_0=38 +lon_0=-98 +units=m +a=6370997.0 +ellps=sphere",
        "size_x": storm.images.shape[1],
        "size_y": storm.images.shape[0],
        "height_m": 384000.0,
        "width_m": 384000.0,
        "data_min": float(storm.images.min()),
        "data_max": float(storm.images.max()),
        "pct_missing": storm.pct_missing,
    }
