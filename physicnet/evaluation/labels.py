"""How models, scores, units and leads are called in tables and figures."""

import re

import pandas as pd

from physicnet.clock import format_minute
from physicnet.fields import Field

TITLES = {
    "physicnet": "PhysicNet",
    "physicnet_sharp": "PhysicNet, sharp",
    "memory": "Memory alone",
    "persistence": "Persistence",
    "climatology": "Climatology",
    "persistent_anomaly": "Persistent anomaly",
    "damped_anomaly": "Damped anomaly",
    "day_ago": "24 hours ago",
    "eof_var": "EOF and VAR",
    "local_linear": "Local linear",
    "advection": "Advection",
    "lucas_kanade": "Lucas–Kanade",
    "s_prog": "S-PROG",
    "anvil": "ANVIL",
    "steps": "STEPS",
    "perturbed_flow": "Perturbed flow",
    "unet": "U-Net",
    "convlstm": "ConvLSTM",
    "simvp": "SimVP (gSTA)",
    "truth": "Observed",
}


def title(model: str) -> str:
    """Return the name of a model for people."""
    return TITLES.get(model, model)


def pretty(units: str) -> str:
    """Raise the exponents: `mm h-1` becomes `mm h⁻¹`; write nothing for a number without units."""
    if units == "1":
        return ""
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return re.sub(r"(?<=[A-Za-z])-?\d+", lambda match: match.group().translate(raised), units)


def in_units(text: str, units: str) -> str:
    """Return what a quantity is called, with the units behind it if it has any."""
    return f"{text} ({pretty(units)})" if pretty(units) else text


def origin(past: Field) -> str:
    """Return what people call the last of some frames by: its time, or the sequence whose times are counted alone."""
    return format_minute(past.times[-1]) if past.sequences is None else f"sequence {past.sequences[-1]}"


def score_title(score: str, units: str) -> str:
    """Return the name of a score's column for people, with the threshold and the units where it has them."""
    kind, _, threshold = score.partition("_")
    if kind in ("csi", "fss"):
        return f"{kind.upper()} {threshold} {pretty(units)}".strip()
    if kind in ("rmse", "mae"):
        return in_units(kind.upper(), units)
    return {"bias": in_units("Bias", units), "ssim": "SSIM", "sharpness": "Sharpness", "skill": "Skill"}.get(
        score, score
    )


def lead(minutes: float) -> str:
    """Return a lead time in the unit of `clock`, or in seconds if it is no whole number of minutes."""
    unit, length = clock(minutes)
    if unit == "min" and not float(minutes).is_integer():
        unit, length = "s", 1 / 60
    return f"{minutes / length:g} {unit}"


def clock(minutes: float) -> tuple[str, float]:
    """Return the unit in which people count such a time, and its length in minutes.

    That is minutes from three minutes on, hours from three hours on, and days from four days on.
    """
    if minutes < 3:
        return "s", 1 / 60
    if minutes < 180:
        return "min", 1.0
    return ("h", 60.0) if minutes < 96 * 60 else ("d", 1440.0)


def spread(num_leads: int, count: int) -> list[int]:
    """Return at most `count` leads, evenly spread and ending with the last."""
    return sorted({-(-num_leads * part // count) for part in range(1, count + 1)})


def defined(scores: pd.DataFrame, prefix: str) -> list[str]:
    """Return the columns with that prefix that hold a number: not the thresholds of other variables."""
    return [str(name) for name in scores if str(name).startswith(prefix) and scores[name].notna().any()]
