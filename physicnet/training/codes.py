"""How the codebook is used, over an epoch or over the validation part."""

import torch
from torch import Tensor

from physicnet.model.codebook import Seen, perplexity, sum_over_processes, usage


class CodeCount:
    """Counts how often each code was chosen since it was last asked, by latents of observed data alone."""

    def __init__(self, num_codes: int) -> None:
        self.counts: Tensor = torch.zeros(num_codes, dtype=torch.int64)

    def add(self, *levels: Seen) -> None:
        """Count the codes of a batch."""
        for level in levels:
            chosen = level.indices[level.valid].cpu()
            self.counts += torch.bincount(chosen, minlength=len(self.counts))

    def take(self, when: str = "", *, of_all: bool = False) -> dict[str, float]:
        """Share of the codes used and their perplexity, under names that begin with `when`; the count starts anew.

        With `of_all`, what all processes counted together, each of which must ask.
        """
        counts = sum_over_processes(self.counts) if of_all else self.counts
        self.counts = torch.zeros_like(self.counts)
        return {f"{when}codebook_usage": usage(counts), f"{when}codebook_perplexity": perplexity(counts)}
