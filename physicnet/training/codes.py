"""How the codebook is used over an epoch."""

import torch
from torch import Tensor

from physicnet.model.codebook import Quantized, perplexity, sum_over_processes, usage


class CodeCount:
    """Counts how often each code was chosen since it was last asked."""

    def __init__(self, num_codes: int) -> None:
        self.counts: Tensor = torch.zeros(num_codes, dtype=torch.int64)

    def add(self, *levels: Quantized) -> None:
        """Count the codes of a batch."""
        for quantized in levels:
            chosen = quantized.indices.detach().flatten().cpu()
            self.counts += torch.bincount(chosen, minlength=len(self.counts))

    def take(self) -> dict[str, float]:
        """Share of the codes that all processes used, and their perplexity; the count starts anew."""
        counts = sum_over_processes(self.counts)
        values = {"codebook_usage": usage(counts), "codebook_perplexity": perplexity(counts)}
        self.counts = torch.zeros_like(self.counts)
        return values
