"""Stage 4: pretrain the encoders and the codebook as an autoencoder, on global views and local windows."""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

from physicnet.checkpoint import save_checkpoint
from physicnet.config import ClipConfig, CodebookConfig, MachineConfig, ModelConfig
from physicnet.data.dataset import Batch, Clips
from physicnet.machine import Machine, machine
from physicnet.model.autoencoder import Autoencoder, Decoder, Reconstruction, pretrained_part
from physicnet.model.codebook import Seen
from physicnet.model.physicnet import PhysicNet
from physicnet.training.codes import CodeCount
from physicnet.training.inputs import Inputs, key_of
from physicnet.training.loop import Report, finish, fit, write_history
from physicnet.training.losses import of_one, split_missing


class Pretraining:
    """The task: say the present in codes, so that it can be decoded."""

    def __init__(self, model: Autoencoder, clip: ClipConfig, commitment: float, clips: Clips, on: Machine) -> None:
        self.model = model
        self._frames_in = clip.frames_in
        self._commitment = commitment
        self._validation = clips
        self._machine = on
        self._codes = CodeCount(model.net.codebook.num_codes)
        self._seen: list[Seen] = []  # by the levels in the last step

    def prepared(self, batch: Batch, step: int) -> Batch:
        """The batch as it is, in every step."""
        del step
        return batch

    def terms(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Reconstruction errors of both levels, and the commitment of their latents."""
        view, windows = self._reconstruct(self.model, batch)
        self._seen = [view.code.seen, windows.code.seen]
        return {
            "reconstruction_global": reconstruction_error(view, self._machine.mean),
            "reconstruction_local": reconstruction_error(windows, self._machine.mean),
            "commitment": self._commitment * (view.code.commitment + windows.code.commitment),
        }

    def settle(self) -> None:
        """Codes follow the latents of the step; which they were is counted."""
        self.model.net.codebook.follow(*self._seen)
        self._codes.add(*self._seen)

    def epoch_values(self) -> dict[str, float]:
        """Usage and perplexity of the codebook."""
        return self._codes.take(of_all=True)

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Reconstruction errors of the validation clips, standard deviations, and which codes they take.

        In the course of an epoch the codes move, and the revived ones among them are chosen somewhere: what they are
        worth is seen here, where they rest.
        """
        model.eval()
        errors, codes = [], CodeCount(len(self._codes.counts))
        for index in range(len(self._validation)):
            batch = Batch(*(part[None].to(self._machine.device) for part in self._validation[index]))
            levels = self._reconstruct(model, batch)
            codes.add(*(level.code.seen for level in levels))
            errors.append([reconstruction_error(level, of_one).item() for level in levels])
        view, windows = (sum(level) / len(errors) for level in zip(*errors, strict=True))
        scores = {"validation_global": view, "validation_local": windows, "validation_loss": view + windows}
        return scores | codes.take("validation_")

    def _reconstruct(self, model: nn.Module, batch: Batch) -> tuple[Reconstruction, Reconstruction]:
        past, observed = split_missing(batch.clip[:, : self._frames_in])
        levels: tuple[Reconstruction, Reconstruction] = model(past, observed, batch.windows)
        return levels


def reconstruction_error(level: Reconstruction, average: Callable[[Tensor], Tensor]) -> Float[Tensor, ""]:
    """Mean absolute error over what was observed, standard deviations; `average` as of `prediction_error`."""
    error = (level.frames - level.truth).abs() * level.observed
    return error.sum() / average(level.observed.sum()).clamp(min=1e-6)


def pretrain(
    config: CodebookConfig,
    clip: ClipConfig,
    model: ModelConfig,
    machine_config: MachineConfig,
    *,
    normalized: Path,
    statistics: Path,
    maps: Path,
    crops: Path,
    codebook: Path,
    history: Path,
    resume: Path,
    report: Report,
) -> None:
    """Write the pretrained part of the model, and one row per epoch."""
    inputs = Inputs.read(normalized, statistics, maps, crops, cache_mib=machine_config.cache_mib)
    sections = {"codebook": config, "clip": clip, "model": model, "machine": machine_config}
    with machine(machine_config) as on:
        task = begin(inputs, config, clip, model, on)
        key = key_of(sections, [normalized, statistics, maps, crops])
        fitted = fit(task, inputs.clips, config, machine=on, resume=resume, key=key, report=report)
        if on.leads:
            task.model.load_state_dict(fitted.weights)
            write_history(history, fitted)
            save_checkpoint(codebook, pretrained_part(task.model.net), inputs.metadata(model, clip))
            finish(resume)


def begin(inputs: Inputs, config: CodebookConfig, clip: ClipConfig, model: ModelConfig, on: Machine) -> Pretraining:
    """The task with an untrained model."""
    autoencoder = _autoencoder(inputs.build(model, clip), config, clip, model)
    autoencoder = convert_conv2d_weight_memory_format(autoencoder.to(on.device), torch.channels_last)
    return Pretraining(autoencoder, clip, config.commitment, inputs.validation, on)


def _autoencoder(net: PhysicNet, config: CodebookConfig, clip: ClipConfig, model: ModelConfig) -> Autoencoder:
    variables = net.global_level.source.variables
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        decoders = [Decoder(model.code_dim, model.channels, clip.frames_in, variables) for _ in range(2)]
    return Autoencoder(net, *decoders)
