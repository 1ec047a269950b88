"""Tables of sums per forecast origin, as `evaluate` writes them, for the tests of comparisons."""

import numpy as np
import pandas as pd

ERRORS = {"physicnet": 0.5, "persistence": 1.0, "advection": 0.8}
TIMES = ("2020-06-01 12:00:00", "2020-06-01 12:05:00", "2020-06-01 12:10:00", "2020-06-01 12:15:00")


def origins_table(
    factor: float = 1.0, *, times: tuple[str, ...] = TIMES, leads: int = 3, first: int = 7
) -> pd.DataFrame:
    """A model whose squared errors are `factor` times the usual, and two baselines; noise is the same in all tables."""
    rng = np.random.default_rng(0)
    rows = []
    for index, time in enumerate(times):
        for lead in range(1, leads + 1):
            noise = rng.uniform(0.5, 2)
            for model, error in ERRORS.items():
                squared = 100 * error * lead * noise * (factor if model == "physicnet" else 1)
                where = {"model": model, "origin": first + index, "time": time, "variable": "rain", "units": "mm h-1"}
                at = {"lead": lead, "lead_minutes": 5 * lead, "cells": 100, "error": 0.0, "absolute_error": squared / 2}
                events = {"hits_1": 9 - lead, "misses_1": lead, "false_alarms_1": index}
                fractions = {"fraction_error_1": 1.0, "fraction_reference_1": 4.0}
                rest = {"similarity": 1.0, "similarity_cells": 2.0, "small_scale": 3.0, "small_scale_truth": 4.0}
                rows.append(where | at | {"squared_error": squared} | events | fractions | rest)
    table = pd.DataFrame(rows)
    return table.astype(dict.fromkeys(table.columns[table.columns.get_loc("cells") :], float))


def second_variable(origins: pd.DataFrame) -> pd.DataFrame:
    """The same table with a second variable that has another threshold."""
    other = origins.rename(columns=lambda name: name.replace("_1", "_9")).assign(variable="wind", units="m s-1")
    return pd.concat([origins, other], ignore_index=True)


def scores() -> pd.DataFrame:
    """A table of scores of two models at three leads, with what does not exist."""
    rows = [
        ("physicnet", 1, 5, 0.25, 0.8),
        ("physicnet", 2, 10, 0.5, 0.7),
        ("physicnet", 3, 15, 0.5, 0.6),
        ("persistence", 1, 5, 0.5, 0.9),
        ("persistence", 2, 10, 0.75, 0.8),
        ("persistence", 3, 15, 0.75, 0.6),
    ]
    table = pd.DataFrame(rows, columns=["model", "lead", "lead_minutes", "rmse", "csi_0.5"])
    return table.assign(
        variable="rain",
        units="mm h-1",
        mae=table["rmse"],
        skill=0.75,
        skill_low=0.7,
        skill_high=0.8,
        csi_2=float("nan"),
    )
