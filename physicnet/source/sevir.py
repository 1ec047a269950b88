"""SEVIR, storms over the United States in radar and satellite images (Veillette, Samsi and Mattioli, 2020, NeurIPS).

An event is four hours of 384 x 384 km, 49 images 5 minutes apart. Files are HDF5: `id` names the events, and a dataset
called as the type of image holds them, `(event, y, x, time)`, rows from south to north. What the stored numbers mean is
told in the tutorial that comes with SEVIR.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr
from einops import rearrange
from jaxtyping import Float32, Num

from physicnet.data.coarsening import coarsen
from physicnet.data.opening import errors_named
from physicnet.fields import DataError
from physicnet.source import sequences, sevir_catalogue
from physicnet.source.sequences import Kind, Written
from physicnet.source.sevir_catalogue import Dates, Event

FRAMES, STEP = 49, 300.0  # images of an event, and seconds between them
WIDTH = 384.0  # km
NO_RADAR = 255  # as stored in an image of VIL: no value
NONE = np.float32(np.nan)

# Stored numbers of infrared images overflow their 16 bits at some cells of very cold clouds. What is left is garbage,
# and SEVIR's authors advise to leave out what cannot be (issue 2 of their code): what is colder than the coldest cloud
# top known, -111 degC (Proud and Bachmeier, 2021, doi:10.1029/2020GL092261), or warmer than any ground.
COLDEST, WARMEST = -115.0, 75.0  # degC

REFERENCES = (
    "Veillette, Samsi and Mattioli, 2020, SEVIR: a storm event imagery dataset for deep learning applications in radar "
    "and satellite meteorology, NeurIPS 33"
)


def digital(stored: Num[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Return vertically integrated liquid as it is stored, 0 to 254; NaN where there is none."""
    return np.where(stored == NO_RADAR, NONE, stored.astype(np.float32))


def liquid(stored: Num[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Return vertically integrated liquid, kg m-2, of the numbers that are stored; NaN where there is none."""
    number = digital(stored)
    linear, exponential = (number - 2) / np.float32(90.66), np.exp((number - np.float32(83.9)) / np.float32(38.9))
    return np.where(number <= 5, np.float32(0), np.where(number <= 18, linear, exponential))


def temperature(stored: Num[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Return brightness temperatures, degC; NaN where they are none that can be."""
    values = stored.astype(np.float32) * np.float32(1e-2)
    return np.where((values < COLDEST) | (values > WARMEST), NONE, values)


def reflectance(stored: Num[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Return reflectance factors."""
    return stored.astype(np.float32) * np.float32(1e-4)


@dataclass(frozen=True)
class Image:
    """A type of image: its name in files and catalogue, cells on a side, attributes, and what stored numbers mean."""

    dataset: str
    side: int
    attributes: Mapping[str, str]
    decode: Callable[[np.ndarray], np.ndarray]


BRIGHTNESS = {"units": "degC", "standard_name": "toa_brightness_temperature"}
IMAGES: Mapping[str, Image] = {
    "vil": Image("vil", 384, {"units": "1", "long_name": "vertically integrated liquid as stored, 0 to 254"}, digital),
    "vil-liquid": Image("vil", 384, {"units": "kg m-2", "long_name": "vertically integrated liquid"}, liquid),
    "ir069": Image("ir069", 192, BRIGHTNESS | {"long_name": "GOES-16 channel 9, 6.9 um"}, temperature),
    "ir107": Image("ir107", 192, BRIGHTNESS | {"long_name": "GOES-16 channel 13, 10.7 um"}, temperature),
    "vis": Image("vis", 768, {"units": "1", "long_name": "reflectance, GOES-16 channel 2, 0.64 um"}, reflectance),
}


def write(
    folder: Path,
    sevir: Path,
    *,
    image: str,
    every: int,
    cells: int,
    dates: Dates,
    complete: bool,
    there: bool,
    per_file: int,
) -> Written:
    """Write events as sequences, in the order of time, so that each part is before the next.

    Args:
        folder: of the NetCDF files.
        sevir: folder that holds `CATALOG.csv` and `data/`.
        image: one of `IMAGES`.
        every: how many images there are to one that is taken: 2 takes one in 10 minutes.
        cells: side of the blocks of cells of which the mean is taken; it is missing where fewer than half are there.
        dates: of the parts.
        complete: leave events out of which the catalogue says that values are missing.
        there: leave events out of which the file is not there.
        per_file: events of a file. Whatever it is, one event at a time is read.

    Raises:
        DataError: if the catalogue or a file is missing, or they do not fit together.
    """
    form = Form(IMAGES[image], every, cells)
    events = sevir_catalogue.read(sevir, form.image.dataset, complete=complete, there=there)
    name = image.replace("-", "_")

    def make(numbers: range) -> Mapping[str, Num[np.ndarray, "s t h w"]]:
        return {name: np.stack([form.read(events[number]) for number in numbers])}

    kind = Kind(
        name=f"sevir_{name}",
        title=f"SEVIR: storms over the United States, {image}",
        references=REFERENCES,
        license="approved for public release, distribution unlimited; (c) 2019 Massachusetts Institute of Technology",
        variables={name: form.image.attributes},
        settings={"every": every, "cells": cells, "events": sevir_catalogue.digest(events)},
        num_frames=len(range(0, FRAMES, every)),
        step=STEP * every,
        y=form.places(),
        x=form.places(),
        length_units="km",
        parts=dates.parts(events),
        labels={"event": [event.name for event in events], "middle": [event.time.isoformat() for event in events]},
        is_packed=form.is_packed,
        missing=NO_RADAR if form.is_packed else None,
    )
    return sequences.write(folder, kind, len(events), make, per_file=per_file)


@dataclass(frozen=True)
class Form:
    """What images are read as: one in `every`, means of blocks of `cells` x `cells`.

    Raises:
        DataError: when built of blocks that do not divide an image.
    """

    image: Image
    every: int
    cells: int

    def __post_init__(self) -> None:
        if self.image.side % self.cells:
            raise DataError(
                f"images of {self.image.side} x {self.image.side} cells cannot be divided into blocks of {self.cells}; "
                "take a divisor"
            )

    @property
    def is_packed(self) -> bool:
        """Whether values are the bytes that are stored."""
        return self.image.decode is digital and self.cells == 1

    def places(self) -> np.ndarray:
        """Return where rows and columns lie, km from the south-western corner of the event."""
        num = self.image.side // self.cells
        return (np.arange(num) + 0.5) * WIDTH / num

    def read(self, event: Event) -> Num[np.ndarray, "t h w"]:
        """Read an event.

        Raises:
            DataError: if the file does not hold it as the catalogue says.
        """
        stored = rearrange(self._stored(event), "h w t -> t h w")[:: self.every]
        if self.is_packed:
            return stored
        values = xr.DataArray(self.image.decode(stored), dims=("time", "y", "x"))
        return coarsen(values, ("y", "x"), self.cells).values.astype(np.float32)

    def _stored(self, event: Event) -> Num[np.ndarray, "h w 49"]:
        path, name = event.path, self.image.dataset
        with errors_named(path), netCDF4.Dataset(path) as file:
            file.set_auto_maskandscale(False)
            if not {"id", name} <= set(file.variables):
                raise DataError(f"{path} has no datasets id and {name}; get SEVIR's file again")
            ids, images = file["id"], file[name]
            shape = (ids.shape[0], self.image.side, self.image.side, FRAMES)
            if images.shape != shape:
                raise DataError(f"{path}: dataset {name} has the shape {images.shape}, not {shape}; get the file again")
            found = str(ids[event.index]) if 0 <= event.index < len(ids) else "nothing"
            if found != event.name:
                raise DataError(
                    f"{path} has {found} at {event.index}, where the catalogue has event {event.name}; get file and "
                    "catalogue of one release"
                )
            return np.asarray(images[event.index])
