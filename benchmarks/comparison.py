"""The end that the benchmarks of forecasts share: score, print, write."""

from pathlib import Path

from rich.console import Console

from physicnet.config import ConfigError, Params
from physicnet.evaluation import pooling
from physicnet.evaluation.nowcasting import import_pysteps
from physicnet.evaluation.scoring import Scoreboard, data_ranges, forecast_case
from physicnet.evaluation.table import result_tables
from physicnet.fields import Field, written_whole
from physicnet.model.forecaster import Forecaster
from physicnet.normalization import Normalizer


def score(
    forecasters: list[Forecaster],
    record: Field,
    origins: list[int],
    params: Params,
    normalizer: Normalizer,
    target: Path,
) -> None:
    """Score every forecaster on the clips that start at `origins`, print the tables and write every score."""
    scoreboard = Scoreboard(params.evaluate, data_ranges(normalizer))
    for start in origins:
        scoreboard.add(forecast_case(forecasters, record, start, params.clip))
    scores = pooling.pooled(scoreboard.sums(), params.evaluate)
    for table in result_tables(scores):
        Console().print(table)
    with written_whole(target) as partial_file:
        scores.to_csv(partial_file, index=False, float_format="%.4g", lineterminator="\n")
    print(f"{len(origins)} origins, first frames {origins}; every lead and score: {target}")


def has_lucas_kanade() -> bool:
    """Whether the optional extra is installed; if not, say so."""
    try:
        import_pysteps("lucas_kanade")
    except ConfigError as error:
        Console(stderr=True).print(f"Without Lucas–Kanade: {error}", markup=False)
        return False
    return True
