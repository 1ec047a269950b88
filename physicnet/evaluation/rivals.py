"""The baselines that `evaluate.baselines` names, fitted to the training part where they have something to fit."""

from collections.abc import Callable, Iterable

from physicnet.evaluation.baselines import Advection, Climatology, Persistence, PersistentAnomaly
from physicnet.evaluation.eof import EofVar
from physicnet.evaluation.local_linear import LocalLinear
from physicnet.evaluation.nowcasting import Anvil, LucasKanade, SProg
from physicnet.evaluation.seasonal import DampedAnomaly, DayAgo
from physicnet.evaluation.training_part import TrainingPart
from physicnet.model.forecaster import Forecaster
from physicnet.normalization import Normalizer


def build_baselines(names: Iterable[str], training: TrainingPart, normalizer: Normalizer) -> list[Forecaster]:
    """Build the named baselines; persistence is always the first, since skill is measured against it.

    Raises:
        DataError: if the training part is too short for one that is fitted, or a variable was never observed in it.
        ConfigError: if the package of one is not installed.
    """
    climatology = Climatology.fit(training.record, training.segments)
    mean = climatology.mean
    builders: dict[str, Callable[[], Forecaster]] = {
        "persistence": lambda: Persistence(mean),
        "climatology": lambda: climatology,
        "persistent_anomaly": lambda: PersistentAnomaly(climatology),
        "damped_anomaly": lambda: DampedAnomaly.fit(training, climatology),
        "day_ago": lambda: DayAgo(training.record, mean),
        "eof_var": lambda: EofVar.fit(training, normalizer, mean),
        "local_linear": lambda: LocalLinear.fit(training, normalizer, mean),
        "advection": lambda: Advection(normalizer, mean),
        "lucas_kanade": lambda: LucasKanade(normalizer, mean),
        "s_prog": lambda: SProg(normalizer, mean),
        "anvil": lambda: Anvil(normalizer, mean),
    }
    return [builders[name]() for name in dict.fromkeys(["persistence", *names])]
