"""How much is read at once, and by how many threads, within a limit of memory."""

import os
from dataclasses import dataclass

import psutil

from physicnet.fields import SHARD_BYTES, DataError

# What one block costs for each of its bytes while it is read: packed, unpacked, converted, checked, averaged. Measured
# by benchmarks/ingest.py, 5.4, and a margin.
COPIES = 7
# What a shard costs for each of its bytes: its values, their chunks, the compressed file.
SHARD_COPIES = 3
LIBRARIES = 32 * 2**20  # that load later, and memory in pieces too small to be used again
SMALLEST = 16 * 2**20  # bytes of a block as double precision
LARGEST = 128 * 2**20  # more brings nothing


@dataclass(frozen=True)
class Budget:
    """Bytes of double precision that are read at once, and the threads that read and convert them."""

    block: int
    threads: int

    @classmethod
    def within(cls, limit: int) -> "Budget":
        """Divide what `limit` bytes leave beside the program as it is now.

        Raises:
            DataError: if that is too little for one shard and one block.
        """
        program = psutil.Process().memory_info().rss + LIBRARIES
        least = program + SHARD_COPIES * SHARD_BYTES + COPIES * SMALLEST
        if limit < least:
            raise DataError(
                f"ingest.memory_limit is {limit // 2**20} MiB, but the program and its smallest blocks take "
                f"{least // 2**20} MiB; raise it"
            )
        block = min(LARGEST, (limit - program - SHARD_COPIES * SHARD_BYTES) // COPIES)
        return cls(block, max(1, min(len(os.sched_getaffinity(0)), block // SMALLEST)))
