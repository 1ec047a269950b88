"""One step of a training: loss, gradients, the move of the weights; on a GPU captured once and replayed.

A step of our models is thousands of small kernels: a GPU runs them faster than a processor launches them. So it is
recorded as one graph (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs) after a few steps that are
taken one kernel at a time, which set up what libraries keep; all later steps replay it. It is the same step, kernel by
kernel. What needs the host, mirrored clips and the codebook that follows, comes before the graph and after it.
"""

import warnings
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physicnet.config import TrainingConfig
from physicnet.data.dataset import Batch
from physicnet.machine import Machine
from physicnet.model.smoothing import nothing_kept
from physicnet.training.muon import Muon, suits

Row = dict[str, float]  # numbers of an epoch or a step, by name
Work = Callable[[Batch], Float[Tensor, " n"]]

UNCAPTURED = 3  # steps before the graph is captured, as PyTorch advises
WARMING = UNCAPTURED + 1  # steps of a training after which all take the same time, on any device


@runtime_checkable
class Stepped(Protocol):
    """What a step needs of what is to be learned: a model, and the loss of a batch."""

    @property
    def model(self) -> nn.Module:
        """What is trained, and saved whole."""
        ...

    def prepared(self, batch: Batch, step: int) -> Batch:
        """The batch as a step sees it, e.g. mirrored: tensors of the same shapes in every step."""
        ...

    def terms(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The loss terms of a step by name, weighted: their sum is minimised.

        On a GPU its work is captured and repeated without it: it asks for no value, and what it leaves behind for
        `settle` are tensors without gradients, which every step fills anew.
        """
        ...

    def settle(self) -> None:
        """What a step does besides following gradients: codes move, numbers are taken down."""
        ...


class Stepper:
    """Takes the steps of a training, one after the other.

    The optimizers move what of the model needs a gradient when the stepper is made.
    """

    def __init__(self, task: Stepped, config: TrainingConfig, machine: Machine) -> None:
        self._task = task
        self._clip_norm = config.clip_norm
        self._machine = machine
        self.optimizers = optimizers(task.model, config, machine)
        self._names: list[str] = []
        self._work: Work = Replayed(self._whole, machine.device) if machine.captures else self._whole

    def take(self, batch: Batch, step: int, rate: float) -> Row:
        """Take a step at a learning rate; return its loss terms by name, `loss`, their sum, and `gradient_norm`."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
        batch = self._task.prepared(Batch(*(part.to(self._machine.device) for part in batch)), step)
        values = self._work(batch)
        self._task.settle()
        return dict(zip([*self._names, "loss", "gradient_norm"], values.tolist(), strict=True))

    def _whole(self, batch: Batch) -> Float[Tensor, " n"]:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        with self._machine.autocast():
            terms = self._task.terms(batch)
        loss = torch.stack(list(terms.values())).sum()
        torch.autograd.backward(loss)
        gradients = [parameter.grad for parameter in self._task.model.parameters() if parameter.grad is not None]
        self._machine.average(gradients)
        norm = nn.utils.clip_grad_norm_(self._task.model.parameters(), self._clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        values = torch.stack([*terms.values(), loss]).detach()
        self._machine.average([values])
        self._names = list(terms)
        return torch.cat((values, norm.detach()[None]))


def optimizers(model: nn.Module, config: TrainingConfig, machine: Machine) -> list[torch.optim.Optimizer]:
    """What moves the weights that need a gradient, as `config.optimizer` says."""
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    turned = [weight for weight in learned if config.optimizer == "muon" and suits(weight)]
    others = [weight for weight in learned if config.optimizer != "muon" or not suits(weight)]
    # A graph reads the rate where it lies.
    rate = torch.tensor(config.learning_rate, device=machine.device) if machine.captures else config.learning_rate
    decay = config.weight_decay
    chosen: list[torch.optim.Optimizer] = []
    if others:
        betas, captured = (0.9, 0.98), machine.captures
        chosen.append(
            torch.optim.AdamW(others, lr=rate, weight_decay=decay, betas=betas, capturable=captured, fused=True)
        )
    if turned:
        chosen.append(Muon(turned, lr=rate, weight_decay=decay))
    return chosen


class Replayed:
    """Work on batches of one shape on a GPU: done as it is a few times, then captured as a graph, and replayed.

    All of it is beside the stream of everything else, as a capture is: what the work sets up belongs to its stream.
    """

    def __init__(self, work: Work, device: torch.device) -> None:
        self._plain = work
        self._aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._left = UNCAPTURED
        self._captured: Captured | None = None

    def __call__(self, batch: Batch) -> Float[Tensor, " n"]:
        """Do the work; the values that it returned before may change."""
        if self._left:
            self._left -= 1
            return self._done(batch)
        if self._captured is None:
            self._captured = Captured(self._plain, batch, self._aside)
        return self._captured(batch)

    def _done(self, batch: Batch) -> Float[Tensor, " n"]:
        here = torch.cuda.current_stream()
        self._aside.wait_stream(here)
        with torch.cuda.stream(self._aside), warnings.catch_warnings():
            # The optimizer fears that it will never be captured.
            warnings.filterwarnings("ignore", "This instance was constructed with capturable=True", UserWarning)
            values = self._plain(batch)
        here.wait_stream(self._aside)
        return values


class Captured:
    """A graph of some work, which does it on another batch of the same shapes."""

    def __init__(self, work: Work, like: Batch, stream: torch.cuda.Stream) -> None:
        self._input = Batch(*(torch.empty_like(part) for part in like))
        self._graph = torch.cuda.CUDAGraph()
        with nothing_kept(), torch.cuda.graph(self._graph, stream=stream):  # records, and does nothing yet
            self._values = work(self._input)

    def __call__(self, batch: Batch) -> Float[Tensor, " n"]:
        """Do the work; where its values lie, the next ones will lie."""
        for kept, part in zip(self._input, batch, strict=True):
            assert kept.shape == part.shape, f"a graph of {tuple(kept.shape)} is given {tuple(part.shape)}"
            kept.copy_(part)
        self._graph.replay()
        return self._values
