"""The parameters that suit files which were looked at: what a user can paste into params.yaml."""

import re
from math import floor, inf, log10
from typing import Any

import yaml
from cf_units import Unit

from physicnet.config import CropsConfig
from physicnet.data.catalogue import Catalogue
from physicnet.data.inspection import Inspection

RATES = (Unit("mm h-1"), Unit("kg m-2 s-1"))  # of rain, if the names say so: the former is that of winds, too
RAIN = re.compile(r"(?<![a-z])(rain|precip|snow)")  # but no terrain
LEAST_WINDOW = 4  # cells: one of the latent grid


def suggestion(inspection: Inspection) -> str:
    """Return what must be written into params.yaml for the variables that can be read, as YAML.

    Where these are the parameters' own, their entries in the other sections stay as they are.
    """
    params, suited = inspection.params, inspection.suited
    coarsen = params.ingest.coarsen if inspection.are_own else 1
    variables = [candidate.settings.model_dump() for candidate in suited]
    sections: dict[str, Any] = {"ingest": {"pattern": inspection.pattern, "variables": variables, "coarsen": coarsen}}
    sections |= _kept(inspection) if inspection.are_own else _anew(inspection)
    crops = _fitting(params.crops, inspection.shape, coarsen)
    sections |= {"crops": crops} if crops else {}
    notes = [f"# {note}\n" for candidate in suited for note in candidate.notes]
    return "".join(notes) + yaml.safe_dump(sections, sort_keys=False, default_flow_style=None, width=110)


def _kept(inspection: Inspection) -> dict[str, Any]:
    channels = [candidate.settings.channel for candidate in inspection.suited]
    present = inspection.params.model_dump(mode="json")
    entries = present["normalize"] | present["evaluate"]
    kept = {key: {name: entries[key][name] for name in channels} for key in ("transforms", "standardize", "thresholds")}
    return {
        "normalize": {"transforms": kept["transforms"], "standardize": kept["standardize"]},
        "evaluate": {"thresholds": kept["thresholds"]},
    }


def _anew(inspection: Inspection) -> dict[str, Any]:
    ends = {one.settings.channel: _ends(inspection.values, one.settings.channel) for one in inspection.suited}
    steps = {
        candidate.settings.channel: steps_for(
            candidate.settings.units, candidate.names, min(ends[candidate.settings.channel], default=-inf)
        )
        for candidate in inspection.suited
    }
    sections: dict[str, Any] = {
        "normalize": {"transforms": steps, "standardize": dict.fromkeys(steps, "global")},
        "evaluate": {"thresholds": {channel: _middle(values) for channel, values in ends.items()}},
    }
    if not all(steps.values()):  # a multiple, or the mirror image, of a wind or a temperature is none
        sections["train"] = {"rescale": 1.0, "mirror": False}
    return sections


def steps_for(units: str, names: str, lowest: float) -> list[dict[str, object]]:
    """Return the transform of a variable: that of decision 8 for rain rates that are never negative, else none."""
    is_rain = RAIN.search(names.lower()) and any(Unit(units).is_convertible(rate) for rate in RATES)
    return [{"kind": "power", "exponent": 0.8}] if is_rain and lowest >= 0 else []


def _fitting(crops: CropsConfig, shape: tuple[int, int] | None, coarsen: int) -> dict[str, int]:
    """Return the view and the window that must be smaller, as no more than the grid or half of it."""
    if shape is None:
        return {}
    height, width = (max(1, size // coarsen) for size in shape)
    sizes = {}
    if max(height, width) < crops.view:
        sizes["view"] = max(2, height, width)
    if min(height, width) < crops.window:
        sizes["window"] = max(2, min(height, width, LEAST_WINDOW), min(height, width) // 2)
    return sizes


def _ends(catalogue: Catalogue, variable: str) -> list[float]:
    """The least and the greatest value of each frame."""
    frames = catalogue.frames[catalogue.frames["variable"] == variable]
    return [float(value) for column in ("min", "max") for value in frames[column].dropna()]


def _middle(values: list[float]) -> list[float]:
    """An event that happens in the files and is no constant; which ones matter only the user knows."""
    if not values:
        return []
    low, high = min(values), max(values)
    digits = 2 - floor(log10(high - low)) if high > low else 6
    return [round((low + high) / 2, digits)]
