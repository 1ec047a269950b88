"""One step of a training: loss, gradients, the move of the weights; on a GPU captured once and replayed.

A step of our models is thousands of small kernels: a GPU runs them faster than a processor launches them. So it is
recorded as one graph (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs) after a few steps that are
taken one kernel at a time, which set up what libraries keep; all later steps replay it. It is the same step, kernel by
kernel. What needs the host, mirrored clips and the codebook that follows, comes before the graph and after it.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physicnet.config import TrainingConfig
from physicnet.data.dataset import Batch
from physicnet.machine import Machine
from physicnet.model.smoothing import nothing_kept

Row = dict[str, float]  # numbers of an epoch or a step, by name

UNCAPTURED = 3  # steps before the graph is captured, as PyTorch advises


@runtime_checkable
class Task(Protocol):
    """What is to be learned: a model, the loss of a batch, and the score that chooses the best epoch."""

    @property
    def model(self) -> nn.Module:
        """What is trained, and saved whole."""
        ...

    def prepared(self, batch: Batch, step: int) -> Batch:
        """The batch as a step sees it, e.g. mirrored; of the same shape in every step."""
        ...

    def terms(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The loss terms of a step by name, weighted: their sum is minimised.

        On a GPU its work is captured and repeated without it (`step.py`): it asks for no value, and what it leaves
        behind for `settle` are tensors, which every step fills anew.
        """
        ...

    def settle(self) -> None:
        """What a step does besides following gradients: codes move, numbers are taken down."""
        ...

    def epoch_values(self) -> Row:
        """What else is worth knowing of the epoch that ends, e.g. the usage of the codebook."""
        ...

    def validate(self, model: nn.Module) -> Row:
        """Scores on the validation part of `model`, which has averaged weights.

        `validation_loss` chooses the best epoch, lower is better.
        """
        ...


class Stepper:
    """Takes the steps of a training, one after the other.

    The optimizer is AdamW on what of the model needs a gradient when the stepper is made.
    """

    def __init__(self, task: Task, config: TrainingConfig, machine: Machine) -> None:
        self._task = task
        self._clip_norm = config.clip_norm
        self._machine = machine
        learned = [parameter for parameter in task.model.parameters() if parameter.requires_grad]
        # A graph reads the rate where it lies.
        rate = torch.tensor(config.learning_rate, device=machine.device) if machine.captures else config.learning_rate
        self.optimizer = torch.optim.AdamW(
            learned, lr=rate, weight_decay=config.weight_decay, betas=(0.9, 0.98), capturable=machine.captures
        )
        self._names: list[str] = []
        self._taken = 0
        self._aside = torch.cuda.Stream() if machine.captures else None  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._input: Batch | None = None  # where the graph reads
        self._values = torch.empty(0)  # and where it writes

    def take(self, batch: Batch, step: int, rate: float) -> Row:
        """Take a step at a learning rate; return its loss terms by name, `loss`, their sum, and `gradient_norm`."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        batch = self._task.prepared(Batch(*(part.to(self._machine.device) for part in batch)), step)
        if not self._machine.captures:
            values = self._work(batch)
        elif self._taken < UNCAPTURED:
            values = self._work_aside(batch)
        else:
            values = self._replay(batch)
        self._taken += 1
        self._task.settle()
        return dict(zip([*self._names, "loss", "gradient_norm"], values.tolist(), strict=True))

    def _work(self, batch: Batch) -> Float[Tensor, " n"]:
        self.optimizer.zero_grad(set_to_none=True)
        with self._machine.autocast():
            terms = self._task.terms(batch)
        loss = torch.stack(list(terms.values())).sum()
        torch.autograd.backward(loss)
        gradients = [parameter.grad for parameter in self._task.model.parameters() if parameter.grad is not None]
        self._machine.average(gradients)
        norm = nn.utils.clip_grad_norm_(self._task.model.parameters(), self._clip_norm)
        self.optimizer.step()
        values = torch.stack([*terms.values(), loss]).detach()
        self._machine.average([values])
        self._names = list(terms)
        return torch.cat((values, norm.detach()[None]))

    def _work_aside(self, batch: Batch) -> Float[Tensor, " n"]:
        """Beside the stream of all else, as a capture is: what the work sets up must not belong to that stream."""
        here, aside = torch.cuda.current_stream(), self._aside
        assert aside is not None
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            values = self._work(batch)
        here.wait_stream(aside)
        return values

    def _replay(self, batch: Batch) -> Float[Tensor, " n"]:
        if self._graph is None or self._input is None:
            self._input = Batch(*(part.clone() for part in batch))
            self._graph = torch.cuda.CUDAGraph()
            with nothing_kept(), torch.cuda.graph(self._graph, stream=self._aside):  # records, and does nothing yet
                self._values = self._work(self._input)
        for kept, part in zip(self._input, batch, strict=True):
            kept.copy_(part)
        self._graph.replay()
        return self._values
