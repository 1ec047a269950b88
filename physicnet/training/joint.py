"""Stage 5: joint training of both levels, experts and codebook, from the pretrained codebook or an earlier model on."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from rich.console import Console
from torch import Tensor, nn
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

from physicnet.checkpoint import load_checkpoint, save_checkpoint
from physicnet.config import ClipConfig, MachineConfig, ModelConfig, Thresholds, TrainConfig
from physicnet.data.dataset import Batch, Clips
from physicnet.machine import Machine, machine
from physicnet.model.autoencoder import load_pretrained
from physicnet.model.codebook import Seen
from physicnet.model.flow import roughness
from physicnet.model.physicnet import PhysicNet, Prediction
from physicnet.normalization import Normalizer
from physicnet.training.calibrating import calibrate
from physicnet.training.codes import CodeCount
from physicnet.training.inputs import Inputs, key_of
from physicnet.training.loop import Report, finish, fit, write_history
from physicnet.training.losses import augmented, distance, of_one, prediction_error, split_missing, weighted_mean
from physicnet.training.memory import first_memory
from physicnet.training.start import freeze_all_but_fusion, warm_start


class Joint:
    """The task: forecast, at both levels and fused."""

    def __init__(
        self,
        model: PhysicNet,
        config: TrainConfig,
        clip: ClipConfig,
        normalizer: Normalizer,
        validation: Clips,
        on: Machine,
    ) -> None:
        self.model = model
        self._config = config
        self._clip = clip
        self._normalizer = normalizer
        self._validation = validation
        self._machine = on
        self._codes = CodeCount(model.codebook.num_codes)
        self._leads = None if config.one_lead_in == 1 else asked_leads(0, config, clip).to(on.device)  # of a step
        self._limited: list[Tensor] = []
        self._seen: list[Seen] = []  # by the levels in the last step
        self._held_back = torch.tensor(torch.nan)  # share of the cells in the last step

    def prepared(self, batch: Batch, step: int) -> Batch:
        """Mirrored and rescaled, as the parameters ask; and which leads are asked for is drawn."""
        if self._leads is not None:
            self._leads.copy_(asked_leads(step, self._config, self._clip))  # a graph reads them where they lie
        return augmented(batch, step, self._config, self._normalizer, self.model.window, self._machine)

    def terms(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The weighted loss terms; cells whose value would have come from outside the view do not count."""
        prediction, truth, observed = self._forecast(self.model, *batch, self._leads)
        self._seen = [codes.seen for codes in prediction.codes]
        self._held_back = prediction.limited.mean()
        return joint_terms(prediction, truth, observed * prediction.inside, self._config, self._machine.mean)

    def settle(self) -> None:
        """Codes follow the latents of the step; which they were is counted, and how many cells were held back."""
        self.model.codebook.follow(*self._seen)
        self._codes.add(*self._seen)
        self._limited.append(self._held_back.clone())  # on a GPU the next step writes where this one did

    def epoch_values(self) -> dict[str, float]:
        """Usage and perplexity of the codebook, and the share of the cells that were held back within their limits."""
        share = torch.stack(self._limited).mean()
        self._machine.average([share])
        self._limited.clear()
        return self._codes.take(of_all=True) | {"saturation": share.item()}

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Prediction errors of the validation clips, whole frames; also of persistence, and the share of its removed.

        And which codes they take, while the codebook rests.
        """
        model.eval()
        errors, error = [], partial(prediction_error, squared=self._config.squared, average=of_one)
        codes = CodeCount(len(self._codes.counts))
        for index in range(len(self._validation)):
            clip = self._validation[index].clip[None].to(self._machine.device)
            prediction, truth, observed = self._forecast(model, clip, None, None)
            codes.add(*(level.seen for level in prediction.codes))
            last = split_missing(clip[:, self._clip.frames_in - 1 :])[0][:, :1].expand_as(truth)
            forecasts = (prediction.frames, prediction.global_frames, last)
            errors.append([error(forecast, truth, observed).item() for forecast in forecasts])
        fused, alone, persistence = (sum(each) / len(errors) for each in zip(*errors, strict=True))
        scores = {"validation_loss": fused, "validation_global": alone, "validation_persistence": persistence}
        skill = 1 - fused / persistence if persistence else math.nan
        return scores | {"validation_skill": skill} | codes.take("validation_")

    def _forecast(
        self,
        model: nn.Module,
        clip: Float[Tensor, "b t c h w"],
        windows: Int[Tensor, "b n 2"] | None,
        only: Int[Tensor, " k"] | None,
    ) -> tuple[Prediction, Float[Tensor, "b k c h w"], Float[Tensor, "b k c h w"]]:
        values, observed = split_missing(clip)
        t, k = self._clip.frames_in, self._clip.frames_out
        prediction: Prediction = model(values[:, :t], observed[:, :t], windows, k, only=only)
        values, observed = values[:, t:], observed[:, t:]
        if only is not None:
            values, observed = (part.index_select(1, only - 1) for part in (values, observed))
        return prediction, values, observed


def asked_leads(step: int, config: TrainConfig, clip: ClipConfig) -> Int[Tensor, " k"]:
    """The leads that a step is asked for: as far apart as one in so many lies, each as likely as any other."""
    count = -(-clip.frames_out // config.one_lead_in)
    first = np.random.default_rng([config.seed, step, 1]).random()
    return torch.from_numpy((first + np.arange(count)) * clip.frames_out / count).long() + 1


def joint_terms(
    prediction: Prediction,
    truth: Float[Tensor, "b k c h w"],
    weight: Float[Tensor, "b k c h w"],
    config: TrainConfig,
    average: Callable[[Tensor], Tensor],
) -> dict[str, Float[Tensor, ""]]:
    """Each named term of the loss that has a weight, times it; `average` as of `prediction_error`."""
    losses, (view, windows) = config.losses, prediction.codes
    fused = distance(prediction.frames, truth, config.squared)
    terms = {"prediction": weighted_mean(fused, weight, average)}
    if losses.prediction_global:
        alone = distance(prediction.global_frames, truth, config.squared)
        terms["prediction_global"] = weighted_mean(alone, weight, average)
    if losses.prediction_local:
        terms["prediction_local"] = weighted_mean(fused, weight * prediction.reach.detach(), average)
    terms |= {"commitment": view.commitment + windows.commitment, "smoothness": roughness(prediction.flow)}
    return {name: getattr(losses, name) * term for name, term in terms.items()}


def begin(
    inputs: Inputs,
    config: TrainConfig,
    clip: ClipConfig,
    model: ModelConfig,
    pretrained: Mapping[str, Tensor],
    on: Machine,
) -> Joint:
    """The task with a model that has the pretrained part, or all of an earlier model, and a memory fitted to the clips.

    Raises:
        CheckpointError: if the pretrained part is of a model of another size, or the checkpoint of `config.init_from`
            is not the one meant or does not agree with data and parameters.
    """
    net = inputs.build(model, clip)
    if config.init_from is None:
        load_pretrained(net, pretrained)
    else:
        _tell(warm_start(net, config.init_from, inputs.metadata(model, clip)), on)
    net.memory.begin_with(first_memory(net, inputs.clips, clip.frames_in))
    if config.learns == "fusion":
        freeze_all_but_fusion(net)
    net = convert_conv2d_weight_memory_format(net.to(on.device), torch.channels_last)
    return Joint(net, config, clip, inputs.normalizer, inputs.validation, on)


def train(
    config: TrainConfig,
    clip: ClipConfig,
    model: ModelConfig,
    machine_config: MachineConfig,
    thresholds: Thresholds,
    *,
    normalized: Path,
    statistics: Path,
    maps: Path,
    crops: Path,
    codebook: Path,
    checkpoint: Path,
    history: Path,
    resume: Path,
    report: Report,
) -> None:
    """Write the model of the best validation, and one row per epoch.

    The checkpoint tells how far its forecasts of the validation part err, and of what `thresholds` forecasts give the
    probability.

    Raises:
        DataError: if a variable was not observed in the validation part.
        CheckpointError: if the pretrained codebook is of a model of another size, or the checkpoint of
            `config.init_from` is not the one meant or does not agree with data and parameters.
    """
    inputs = Inputs.read(normalized, statistics, maps, crops, cache_mib=machine_config.cache_mib)
    sections = {"train": config, "clip": clip, "model": model, "machine": machine_config}
    with machine(machine_config) as on:
        task = begin(inputs, config, clip, model, load_checkpoint(codebook).tensors, on)
        key = key_of(sections, [normalized, statistics, maps, crops, codebook])
        fitted = fit(task, inputs.clips, config, machine=on, resume=resume, key=key, report=report)
        if on.leads:
            write_history(history, fitted)
            metadata = inputs.metadata(model, clip) | {"best_epoch": fitted.best_epoch, "thresholds": thresholds}
            paths = {"normalized": normalized, "statistics": statistics}
            errors = calibrate(fitted.weights, inputs, model, clip, machine_config, **paths)
            save_checkpoint(checkpoint, fitted.weights | inputs.maps() | errors, metadata)
            finish(resume)


def _tell(lines: list[str], on: Machine) -> None:
    if on.leads:
        Console(stderr=True).print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
