"""`params.yaml` as strict, frozen models: one section per stage, parsed once at the edge.

Unknown keys, missing keys, wrong types and values out of range raise `ConfigError` with the dotted path of the
parameter. There are no defaults here: what is not written in `params.yaml` is not known to DVC either.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import log10
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class ConfigError(ValueError):
    """`params.yaml` cannot be used as it stands; the message names the parameter, its value and the remedy."""


class Section(BaseModel):
    """Base of all sections: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


BYTES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class VariableConfig(Section):
    """One variable (one channel) to read: where it is in the files and what it is kept as.

    `name` is its name in the files, with the groups that it lies in (`dataset1/data1/precip`). `channel` is what it is
    called from then on; without one it is the last part of `name`. `file_units` are the units of files whose own are
    absent or cannot be understood. `select` names one value for each further dimension, such as `level: 500`. Values
    outside `valid_min` to `valid_max` (in `units`; null: no bound) are missing.
    """

    name: Annotated[str, Field(min_length=1)]
    channel: Annotated[str, Field(min_length=1)]
    units: str
    file_units: str | None
    select: dict[str, float]
    valid_min: float | None
    valid_max: float | None

    @property
    def valid_range(self) -> dict[str, float]:
        """The bounds that are given, as the attributes that CF calls by the same names."""
        bounds = {"valid_min": self.valid_min, "valid_max": self.valid_max}
        return {name: bound for name, bound in bounds.items() if bound is not None}

    @model_validator(mode="before")
    @classmethod
    def _is_called_by_the_last_part_of_its_name(cls, content: Any) -> Any:
        if isinstance(content, dict) and isinstance(content.get("name"), str) and content.get("channel", "") is None:
            return content | {"channel": content["name"].rsplit("/", 1)[-1]}
        return content

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> "VariableConfig":
        if self.valid_min is not None and self.valid_max is not None and self.valid_min >= self.valid_max:
            raise ValueError(f"{self.name}: valid_min {self.valid_min} must lie below valid_max {self.valid_max}")
        return self


OF_AN_ARCHIVE = {"pattern": "*", "max_quarantined": 0, "memory_limit": "2 GiB", "cluster": None}


class IngestConfig(Section):
    """Which files and variables are read, how many cells of the files make one cell of ours, what is refused.

    `time_from_name` is a pattern of `datetime.strptime` for the names of files that hold one frame and no time.
    `on_conflict` decides between two frames of one variable and time with different values: the file that comes last
    in the order of names (`newest`), or the one that comes first, and the other file is quarantined (`refuse`).
    """

    pattern: str
    time_from_name: str | None
    variables: Annotated[list[VariableConfig], Field(min_length=1)]
    coarsen: Count
    on_conflict: Literal["newest", "refuse"]
    max_invalid: Share
    max_quarantined: Index
    memory_limit: str
    cluster: str | None

    def rules(self) -> dict[str, Any]:
        """Return, as JSON, what decides which values a file gives: not where files lie, nor what reading may take."""
        return self.model_dump(mode="json", exclude=set(OF_AN_ARCHIVE))

    @classmethod
    def of_rules(cls, rules: Mapping[str, Any], memory_limit: str) -> "IngestConfig":
        """Return rules as the section that reads files named one by one, in this process; none may be refused.

        Raises:
            ValidationError: if these are no rules of this version.
        """
        return cls.model_validate({**rules, **OF_AN_ARCHIVE, "memory_limit": memory_limit})

    @property
    def memory_bytes(self) -> int:
        """`memory_limit` in bytes."""
        number, unit = self.memory_limit.split()
        return int(float(number) * BYTES[unit])

    @field_validator("memory_limit")
    @classmethod
    def _is_a_size(cls, text: str) -> str:
        if not re.fullmatch(rf"\d+(\.\d+)? ({'|'.join(BYTES)})", text):
            raise ValueError(f"memory_limit is {text!r}; write a number and one of {', '.join(BYTES)}, such as '2 GiB'")
        return text

    @model_validator(mode="after")
    def _calls_each_channel_once(self) -> "IngestConfig":
        names = [variable.channel for variable in self.variables]
        if len(set(names)) < len(names):
            raise ValueError(f"ingest.variables names a channel twice: {names}; set channel apart for each")
        return self

    @model_validator(mode="after")
    def _names_tell_the_day(self) -> "IngestConfig":
        if self.time_from_name is not None and not _tells_the_day(self.time_from_name):
            raise ValueError(
                f"ingest.time_from_name, {self.time_from_name!r}, does not tell year, month and day; write a pattern "
                "for whole file names such as 'radar_%Y%m%d%H%M.nc'"
            )
        return self


def _tells_the_day(pattern: str) -> bool:
    day = datetime(2019, 11, 23, tzinfo=UTC)
    try:
        return datetime.strptime(day.strftime(pattern), pattern).replace(tzinfo=UTC) == day
    except ValueError:
        return False


class ClipConfig(Section):
    """A clip: `frames_in` observed frames and the `frames_out` that follow them."""

    frames_in: Annotated[int, Field(ge=2)]
    frames_out: Count

    @property
    def frames(self) -> int:
        """Frames of a whole clip."""
        return self.frames_in + self.frames_out


class DecibelConfig(Section):
    """10·log10 of a rate; rates below `threshold` (in the variable's units) become `floor` (in dB)."""

    kind: Literal["decibel"]
    threshold: Positive
    floor: float

    @model_validator(mode="after")
    def _floor_lies_below_threshold(self) -> "DecibelConfig":
        if self.floor >= 10 * log10(self.threshold):
            raise ValueError(f"floor {self.floor} dB must lie below the threshold, {10 * log10(self.threshold):.2f} dB")
        return self


class PowerConfig(Section):
    """x^exponent of a quantity that is never negative, such as a rate; 0.5 is the square root."""

    kind: Literal["power"]
    exponent: Annotated[float, Field(gt=0, lt=1)]


class Log1pConfig(Section):
    """log(1 + x / scale) of a quantity that is never negative; `scale` is in the variable's units."""

    kind: Literal["log1p"]
    scale: Positive


class AnomalyConfig(Section):
    """Difference from the training part's mean in each cell, by hour of the day (UTC), by day of the year, or both.

    `harmonics` of the year: 0 if the day of the year plays no part, 1 for one wave a year, 2 for half-yearly ones too.
    """

    kind: Literal["anomaly"]
    hour_of_day: bool
    harmonics: Annotated[int, Field(ge=0, le=6)]

    @model_validator(mode="after")
    def _has_a_cycle(self) -> "AnomalyConfig":
        if not (self.hour_of_day or self.harmonics):
            raise ValueError("an anomaly against nothing: set hour_of_day: true, or harmonics to 1 or more")
        return self


TransformConfig = Annotated[DecibelConfig | PowerConfig | Log1pConfig | AnomalyConfig, Field(discriminator="kind")]


class NormalizeConfig(Section):
    """Shares of the record for training and validation (the rest is the test part), the gap, the transforms.

    Each variable goes through its transforms in their order (none: it stays as it is) and is then standardised, with
    one mean and deviation for all cells or with every cell's own.
    """

    train_fraction: Fraction
    validation_fraction: Fraction
    gap: Index
    transforms: dict[str, list[TransformConfig]]
    standardize: dict[str, Literal["global", "per_cell"]]

    @model_validator(mode="after")
    def _leaves_a_test_part(self) -> "NormalizeConfig":
        if self.train_fraction + self.validation_fraction >= 1:
            raise ValueError("train_fraction + validation_fraction must be below 1: the rest is the test part")
        return self

    @model_validator(mode="after")
    def _transforms_can_follow_each_other(self) -> "NormalizeConfig":
        for variable, steps in self.transforms.items():
            kinds = [step.kind for step in steps]
            if "decibel" in kinds[1:]:
                raise ValueError(f"transforms of {variable}: decibel must come first, its threshold is in its units")
            if "decibel" in kinds and {"power", "log1p"} & set(kinds):
                raise ValueError(f"transforms of {variable}: decibels are negative, {kinds[1]} takes no such values")
            if "anomaly" in kinds[:-1]:
                raise ValueError(f"transforms of {variable}: an anomaly must come last, and once; found {kinds}")
        return self

    def is_pointwise(self, variable: str) -> bool:
        """Whether neither time nor place matters to how the variable is normalised."""
        steps = self.transforms[variable]
        return self.standardize[variable] == "global" and not any(isinstance(step, AnomalyConfig) for step in steps)


class CropsConfig(Section):
    """How clips, global views and local windows are drawn.

    A window's importance is activity^`activity_exponent` times coverage^`coverage_exponent` (`data/activity.py` defines
    both); `activity_floor` is the share of the draws that ignores it, `min_coverage` what a window must have at least.
    """

    seed: Index
    view: Count
    window: Annotated[int, Field(ge=2)]
    windows_per_clip: Count
    train_clips: Count
    stride: Count
    min_coverage: Share
    activity_floor: Share
    activity_exponent: NonNegative
    coverage_exponent: NonNegative


class MachineConfig(Section):
    """Device and threads of the stages that train or run the model; `precision` is that of the training steps.

    `cache_mib` bounds what the trainings keep of the record in memory. Frames of more than `tile_cells` cells are
    forecast in overlapping tiles of at most about so many.
    """

    device: str
    precision: Literal["float32", "bfloat16"]
    num_threads: Count
    cache_mib: Index
    tile_cells: Count


BaselineName = Literal[
    "persistence",
    "climatology",
    "persistent_anomaly",
    "damped_anomaly",
    "day_ago",
    "eof_var",
    "local_linear",
    "advection",
    "lucas_kanade",
    "s_prog",
    "anvil",
]


Thresholds = dict[str, list[float]]  # of events, by variable, in its units


class EvaluateConfig(Section):
    """Baselines, event thresholds per variable (in its units) and the bootstrap of the intervals."""

    baselines: list[BaselineName]
    thresholds: Thresholds
    fss_scale: Count
    bootstrap_samples: Count
    seed: Index


class PromoteConfig(Section):
    """When a challenger becomes the champion.

    `metric` is pooled over `leads` (in steps; null: all). It must be lower by the share `minimum_gain`, at no single
    lead higher by more than the share `worst_lead`, and at every lead lower than that of each baseline in `must_beat`.
    """

    metric: Literal["rmse", "mae"]
    leads: Annotated[list[Count], Field(min_length=1)] | None
    minimum_gain: Annotated[float, Field(ge=0, lt=1)]
    worst_lead: NonNegative
    must_beat: list[BaselineName]


class RetrainConfig(Section):
    """When the flow `retrain` trains again, what it starts from, how long a stage may take, where it records all that.

    Fewer than `minimum_new_frames` frames since the last training are not worth one. With `warm_start`,
    `train.init_from` is set to the champion first. A stage that takes more than `stage_minutes` hangs, and is ended.
    `branch` is a git branch to which each retrain commits; null: none.
    """

    minimum_new_frames: Index
    warm_start: bool
    stage_minutes: Positive
    branch: Annotated[str, Field(min_length=1)] | None


class CollectConfig(Section):
    """Where new observations come from, and when a file there is taken. No stage reads this section.

    `source` is a folder, or the URL of one that fsspec understands, such as `s3://bucket/folder`. A file is complete
    when its last change lies `settled` seconds back. One that ingest cannot read may be a copy that has stalled: it
    goes to the folder `quarantine` when its last change lies `stalled` seconds back. Hidden files, and those whose name
    matches one of the patterns `unfinished`, are left alone.
    """

    source: Annotated[str, Field(min_length=1)]
    quarantine: Annotated[str, Field(min_length=1)]
    settled: NonNegative
    stalled: NonNegative
    unfinished: list[str]

    @model_validator(mode="after")
    def _settles_before_it_has_stalled(self) -> "CollectConfig":
        if self.stalled < self.settled:
            raise ValueError(
                f"collect.stalled ({self.stalled:g}) must not be below collect.settled ({self.settled:g}): a file is "
                "not read before it has settled"
            )
        return self


class ForecastConfig(Section):
    """Where the flow `forecast` puts forecasts, and for how long. No stage reads this section.

    Those made more than `keep_days` before the latest that was scored are removed. Forecasts from times gone by go to
    `hindcasts`: what came after them was known by then.
    """

    folder: Annotated[str, Field(min_length=1)]
    hindcasts: Annotated[str, Field(min_length=1)]
    keep_days: Positive

    @model_validator(mode="after")
    def _hindcasts_lie_apart(self) -> "ForecastConfig":
        if Path(self.folder) == Path(self.hindcasts):
            raise ValueError(
                f"forecast.folder and forecast.hindcasts are both {self.folder}: hindcasts would be scored as forecasts"
            )
        return self


class DriftConfig(Section):
    """When the newest `hours` of observations are no longer like those of training.

    They are not if more than the share `beyond_range` of the values lies outside the range of the training values, if
    the share of cells without a value differs by more than `missing`, or if more than the share `codes` of the cells
    would need another code for the codes to be as common as in training. With `retrain` a retrain is asked for then.
    """

    hours: Positive
    beyond_range: Share
    missing: Share
    codes: Share
    retrain: bool


class VerifyConfig(Section):
    """How forecasts are compared with what was observed after them. No stage reads this section.

    Scores go to the CSV `table`, `weeks` of which are shown.
    """

    table: Annotated[str, Field(pattern=r"^[^/].*\.csv$")]
    weeks: Count
    drift: DriftConfig


class ModelConfig(Section):
    """Sizes of the encoders, the codebook and the experts (see `physicnet/model/physicnet.py`), and what is left out.

    Without `quantize` the experts read latents as they are, and the codebook follows them unheard. `flow` is who says
    what moves: the `experts`, beginning at the first flow; the `first` flow alone, which has no learned parameter; or
    `none`, and nothing does. `drawing` is the number of channels with which the global level draws sources in the
    place of those of bands; 0, and it draws none.
    """

    seed: Index
    channels: Count
    code_dim: Count
    num_codes: Annotated[int, Field(ge=2)]
    ema_decay: Fraction
    revival_threshold: Annotated[float, Field(ge=0, lt=1)]
    hidden: Annotated[int, Field(ge=2)]
    quantize: bool
    flow: Literal["experts", "first", "none"]
    flow_iterations: Count
    drawing: Index


class TrainingConfig(Section):
    """What both trainings decide: how long, how much at once, how fast.

    `optimizer` is AdamW for all weights, or Muon for those that are matrices and AdamW for the rest (see
    `training/muon.py`).
    """

    seed: Index
    epochs: Count
    steps_per_epoch: Count
    batch_size: Count
    optimizer: Literal["adamw", "muon"]
    learning_rate: Positive
    weight_decay: NonNegative
    clip_norm: Positive


class CodebookConfig(TrainingConfig):
    """Pretraining of the encoders and the codebook as an autoencoder."""

    commitment: NonNegative


class LossConfig(Section):
    """Weight of each named loss term of joint training."""

    prediction: NonNegative
    prediction_global: NonNegative
    prediction_local: NonNegative
    commitment: NonNegative
    smoothness: NonNegative


class InitConfig(Section):
    """A checkpoint of an earlier training: its path, and the hash of its content, without which DVC would not see it.

    The path is seen from the folder of `params.yaml`.
    """

    checkpoint: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(min_length=1)]


class TrainConfig(TrainingConfig):
    """Joint training.

    `init_from` is the checkpoint to start from; null: start from the pretrained codebook. With `learns: fusion` only
    the codebook, the memory and what weighs the levels against each other follow the new frames, all else stays as the
    checkpoint has it.

    `mirror` also shows clips mirrored and transposed, for fields without a preferred direction. `rescale` = r
    multiplies the physical values of a clip by a factor between 1/r and r, for rates and other fields without a scale
    of their own; 1 leaves them as they are. `squared` is the weight of squared beside absolute errors.

    With `one_lead_in` = n a step forecasts one lead in n alone, evenly spread, from a first one that is drawn anew: in
    the long run it is the same loss, for less work.
    """

    init_from: InitConfig | None
    learns: Literal["all", "fusion"]
    mirror: bool
    rescale: Annotated[float, Field(ge=1)]
    squared: NonNegative
    one_lead_in: Count
    losses: LossConfig

    @model_validator(mode="after")
    def _only_a_trained_model_adapts(self) -> "TrainConfig":
        if self.learns == "fusion" and self.init_from is None:
            raise ValueError(
                "train.learns is fusion, but train.init_from is null: nothing would ever train the rest of the model; "
                "name a checkpoint in train.init_from, or write train.learns: all"
            )
        return self


class Params(Section):
    """The whole of `params.yaml`."""

    ingest: IngestConfig
    clip: ClipConfig
    normalize: NormalizeConfig
    crops: CropsConfig
    machine: MachineConfig
    model: ModelConfig
    codebook: CodebookConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    promote: PromoteConfig
    retrain: RetrainConfig
    collect: CollectConfig
    forecast: ForecastConfig
    verify: VerifyConfig

    @model_validator(mode="after")
    def _variables_agree(self) -> "Params":
        names = {variable.channel for variable in self.ingest.variables}
        keyed: dict[str, dict] = {
            "normalize.transforms": self.normalize.transforms,
            "normalize.standardize": self.normalize.standardize,
            "evaluate.thresholds": self.evaluate.thresholds,
        }
        for section, entries in keyed.items():
            if set(entries) != names:
                raise ValueError(
                    f"{section} names {sorted(entries)}, but ingest.variables names {sorted(names)}; "
                    "write one entry for each variable"
                )
        return self

    @model_validator(mode="after")
    def _rescaling_needs_no_time_and_no_place(self) -> "Params":
        for variable in self.normalize.transforms:
            if self.train.rescale != 1 and not self.normalize.is_pointwise(variable):
                raise ValueError(
                    f"train.rescale is {self.train.rescale:g}, but {variable} is normalised as an anomaly or per cell, "
                    "and a multiple of it means nothing: write train.rescale: 1.0"
                )
        return self

    @model_validator(mode="after")
    def _windows_fit_views(self) -> "Params":
        if self.crops.window > self.crops.view:
            raise ValueError(f"crops.window ({self.crops.window}) must not exceed crops.view ({self.crops.view})")
        return self

    @model_validator(mode="after")
    def _judges_leads_that_are_forecast(self) -> "Params":
        beyond = [lead for lead in self.promote.leads or [] if lead > self.clip.frames_out]
        if beyond:
            raise ValueError(
                f"promote.leads names {beyond}, but clip.frames_out is {self.clip.frames_out}; leave these leads out, "
                "or write promote.leads: null for all"
            )
        return self


def load_params(path: Path) -> Params:
    """Read and check a parameter file.

    Raises:
        ConfigError: if the file is missing, is not YAML, or a parameter is unknown, missing or out of range.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; run the command in the folder that holds params.yaml") from None
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold one mapping of sections, not {type(content).__name__}")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_describe(path, error)) from None


def _describe(path: Path, error: ValidationError) -> str:
    lines = [f"{path} cannot be used:"]
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or "the file as a whole"
        found = "" if isinstance(problem["input"], dict) else f" (found {problem['input']!r})"
        lines.append(f"  {where}: {problem['msg']}{found}")
    return "\n".join(lines)
