"""Whether a challenger becomes the champion: the rule `promote` of params.yaml, applied to two tables of sums.

Errors are compared as ratios, the challenger's by a rival's: below 1 the challenger is better. The intervals are those
of `paired`: both are drawn together, origin by origin in blocks. Ratios are rounded before they are judged, so that
what is judged is what is shown.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from physicnet import metrics
from physicnet.config import EvaluateConfig, PromoteConfig
from physicnet.evaluation import labels, pooling
from physicnet.evaluation.paired import LEVEL, paired
from physicnet.evaluation.scored import ScoredRun, refuse_unlike
from physicnet.fields import DataError

CHALLENGER, CHAMPION = "challenger", "champion"  # what the tables call the two models
POOLED = 0  # the "lead" of what is pooled over all leads of the rule
TOGETHER = "all variables"  # the "variable" of their geometric mean
DIGITS = 4
RATIOS = ["against", "variable", "lead", "lead_minutes", "value", "low", "high"]
ERRORS = {"rmse": ("squared_error", metrics.rmse), "mae": ("absolute_error", metrics.mean)}

Counts = Float64[np.ndarray, "n o"]
Draws = Float64[np.ndarray, " n"]


@dataclass(frozen=True)
class Check:
    """One demand of the rule: what was found beside what is asked for, in words, and whether that is enough."""

    text: str
    is_met: bool


@dataclass(frozen=True, eq=False)
class Decision:
    """What was decided, and why.

    `scores` has a row per model, variable and lead with the error as `value`; `ratios` a row per rival (`against`),
    variable and lead, in `RATIOS`. In both the lead `POOLED` stands for all leads of the rule together. With several
    variables, `TOGETHER` is the geometric mean of their ratios to the champion.
    """

    checks: tuple[Check, ...]
    scores: pd.DataFrame
    ratios: pd.DataFrame

    @property
    def is_promoted(self) -> bool:
        """Whether the challenger becomes the champion: all demands are met."""
        return all(check.is_met for check in self.checks)

    @property
    def gain(self) -> float | None:
        """The share by which the pooled error is lower than the champion's; None without a champion."""
        rows = self.ratios[(self.ratios["against"] == CHAMPION) & (self.ratios["lead"] == POOLED)]
        return None if rows.empty else round(1 - float(rows["value"].iloc[-1]), DIGITS)


def decide(challenger: ScoredRun, champion: ScoredRun | None, rule: PromoteConfig, config: EvaluateConfig) -> Decision:
    """Apply the rule. Without a champion, the first model need only beat the baselines.

    Raises:
        DataError: if the two were not tested on the same data, the challenger was not tested beside a baseline that it
            must beat, or nothing was observed at the leads of the rule.
    """
    if champion is not None:
        refuse_unlike(challenger, champion)
    sums = _models(challenger, champion)
    missing = [name for name in rule.must_beat if name not in sums]
    if missing:
        raise DataError(
            f"{challenger.name} was not tested beside {', '.join(missing)}: add it to evaluate.baselines and run "
            "dvc repro, or take it out of promote.must_beat"
        )
    leads = rule.leads or sorted(challenger.truth["lead"].unique().tolist())
    ratios = _ratios(sums, rule, leads, config)
    checks = (
        [*_beside_champion(ratios, rule)]
        if champion
        else [Check("There is no champion yet: the baselines alone decide.", is_met=True)]
    )
    checks += [_beside_baseline(ratios, name, rule) for name in rule.must_beat]
    return Decision(tuple(checks), _scores(sums, rule, leads), ratios)


def _models(challenger: ScoredRun, champion: ScoredRun | None) -> dict[str, pd.DataFrame]:
    """The sums of each model: challenger, champion, baselines. Frames are counted as in the challenger's test."""
    found = {str(name): rows for name, rows in challenger.origins.groupby("model", sort=False)}
    models = {CHALLENGER: found.pop(challenger.model)}
    if champion is not None:
        counted = challenger.truth.drop_duplicates("time").set_index("time")["origin"]
        rows = champion.origins[champion.origins["model"] == champion.model]
        models[CHAMPION] = rows.assign(origin=rows["time"].map(counted))
    return models | found


def _scores(sums: Mapping[str, pd.DataFrame], rule: PromoteConfig, leads: list[int]) -> pd.DataFrame:
    tables = []
    for model, rows in sums.items():
        for (variable, units), mine in rows.groupby(["variable", "units"], sort=False):
            minutes = mine.groupby("lead")["lead_minutes"].first()
            everything = np.ones((1, mine["origin"].nunique()))
            chosen = {POOLED: leads} | {lead: [lead] for lead in leads}
            values = [float(_error(mine, rule, each, everything)[0]) for each in chosen.values()]
            columns = {"lead": list(chosen), "lead_minutes": minutes.reindex(list(chosen)).to_numpy()}
            about = {"model": model, "variable": variable, "units": units}
            tables.append(pd.DataFrame(about | columns | {"value": values}))
    return pd.concat(tables, ignore_index=True)


def _ratios(
    sums: Mapping[str, pd.DataFrame], rule: PromoteConfig, leads: list[int], config: EvaluateConfig
) -> pd.DataFrame:
    tables = []
    for rival in [name for name in sums if name != CHALLENGER]:
        pooled: list[Draws] = []
        for variable, ours in sums[CHALLENGER].groupby("variable", sort=False):
            theirs = sums[rival][sums[rival]["variable"] == variable]
            by_lead = paired(ours, theirs, config)
            by_lead = by_lead[(by_lead["score"] == rule.metric) & by_lead["lead"].isin(leads)]
            pooled.append(_drawn(ours, theirs, rule, leads, config))
            tables += [_row(rival, variable, pooled[-1]), by_lead.assign(against=rival, variable=variable)[RATIOS]]
        if rival == CHAMPION and len(pooled) > 1:
            with np.errstate(divide="ignore", invalid="ignore"):
                tables.append(_row(rival, TOGETHER, np.exp(np.log(pooled).mean(axis=0))))
    return pd.concat(tables, ignore_index=True).round({"value": DIGITS, "low": DIGITS, "high": DIGITS})


def _row(rival: str, variable: object, drawn: Draws) -> pd.DataFrame:
    """The pooled ratio and its interval, from the ratio over all origins and over those of each draw."""
    tail = (1 - LEVEL) / 2
    ends = np.quantile(drawn[1:], [tail, 1 - tail]) if len(drawn) > 1 else (np.nan, np.nan)
    return pd.DataFrame([(rival, variable, POOLED, np.nan, drawn[0], *ends)], columns=RATIOS)


def _drawn(
    ours: pd.DataFrame, theirs: pd.DataFrame, rule: PromoteConfig, leads: list[int], config: EvaluateConfig
) -> Draws:
    """The ratio pooled over the leads: over all origins, then over those of each draw (none of a single origin)."""
    origins = np.sort(ours["origin"].unique())
    counts = np.ones((1, origins.size))
    if origins.size > 1:
        block = pooling.block_length(origins, ours["lead"].nunique())
        drawn = metrics.draw_blocks(origins.size, block, config.bootstrap_samples, config.seed)
        counts = np.concatenate([counts, drawn])
    with np.errstate(divide="ignore", invalid="ignore"):
        return _error(ours, rule, leads, counts) / _error(theirs, rule, leads, counts)


def _error(rows: pd.DataFrame, rule: PromoteConfig, leads: list[int], counts: Counts) -> Draws:
    column, score = ERRORS[rule.metric]
    sums = rows[rows["lead"].isin(leads)].groupby("origin")[[column, "cells"]].sum()  # in the order of the origins
    return score(counts @ sums[column].to_numpy(), counts @ sums["cells"].to_numpy())


def _beside_champion(ratios: pd.DataFrame, rule: PromoteConfig) -> Iterator[Check]:
    mine = ratios[ratios["against"] == CHAMPION]
    pooled = mine[mine["lead"] == POOLED].iloc[-1]
    value, high = float(pooled["value"]), float(pooled["high"])
    error = f"{rule.metric.upper()} over {_leads(rule)}"
    found = f"{error} is {_change(value)} the champion's; at least {rule.minimum_gain:.2%} lower is asked for."
    yield Check(found, is_met=value <= round(1 - rule.minimum_gain, DIGITS))
    if np.isnan(high):
        yield Check("There is no interval, for too few forecast origins: it may be chance.", is_met=False)
    else:
        interval = f"{LEVEL:.0%} interval of that ratio is {pooled['low']:.4f} to {high:.4f}"
        yield Check(f"The {interval}; it must end below 1.", is_met=high < 1)
    worst = worst_of(mine)
    found = f"At the worst lead, {_place(worst)}, it is {_change(float(worst['value']))} the champion's"
    allowed = round(1 + rule.worst_lead, DIGITS)
    yield Check(f"{found}; up to {rule.worst_lead:.2%} higher is allowed.", is_met=float(worst["value"]) <= allowed)


def _beside_baseline(ratios: pd.DataFrame, name: str, rule: PromoteConfig) -> Check:
    worst = worst_of(ratios[ratios["against"] == name])
    value = float(worst["value"])
    found = f"At the worst lead, {_place(worst)}, {rule.metric.upper()} is {_change(value)} that of {name}"
    return Check(f"{found}; it must be lower at every lead.", is_met=value < 1)


def worst_of(ratios: pd.DataFrame) -> pd.Series:
    """The row of the single lead, of whichever variable, at which the ratio is highest.

    Raises:
        DataError: if there is a ratio at no lead.
    """
    single = ratios[(ratios["lead"] != POOLED) & ratios["value"].notna()]
    if single.empty:
        raise DataError(
            "the errors cannot be compared at any lead of promote.leads: nothing was observed there, or neither "
            "forecast errs; choose other leads"
        )
    return single.iloc[int(single["value"].to_numpy().argmax())]


def _change(ratio: float) -> str:
    return f"{abs(1 - ratio):.2%} {'lower' if ratio < 1 else 'higher'} than"


def _place(row: pd.Series) -> str:
    return f"{labels.lead(float(row['lead_minutes']))} ({row['variable']})"


def _leads(rule: PromoteConfig) -> str:
    return "all leads" if rule.leads is None else f"the leads {', '.join(map(str, rule.leads))}"
