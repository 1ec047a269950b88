"""How the codebook is used over an epoch."""

import torch
from torch import Tensor

from physicnet.model.codebook import Quantized, perplexity, usage


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
        """Share of the codes used and their perplexity; the count starts anew."""
        values = {"codebook_usage": usage(self.counts), "codebook_perplexity": perplexity(self.counts)}
        self.counts = torch.zeros_like(self.counts)
        return values
