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
    """Memory for one task: bytes of double precision that are read at once, and threads that read and convert them.

    `free` is all that the task may take beside the program, blocks and shards included.
    """

    block: int
    threads: int
    free: int

    @classmethod
    def within(cls, limit: int, *, tasks: int = 1) -> "Budget":
        """Divide what `limit` bytes leave beside the program as it is now among `tasks` that run at once.

        Raises:
            DataError: if that is too little for one shard and one block each.
        """
        program = psutil.Process().memory_info().rss + LIBRARIES
        least = SHARD_COPIES * SHARD_BYTES + COPIES * SMALLEST
        free = (limit - program) // tasks
        if free < least:
            raise DataError(
                f"ingest.memory_limit is {limit // 2**20} MiB, but the program and the smallest blocks of {tasks} "
                f"task(s) at once take {(program + tasks * least) // 2**20} MiB; raise it"
            )
        block = min(LARGEST, (free - SHARD_COPIES * SHARD_BYTES) // COPIES)
        return cls(block, max(1, min(_cores(), block // SMALLEST)), free)

    def threads_for(self, each: int, kept: int, what: str) -> int:
        """Return how many threads may take `each` bytes beside `kept` bytes that they share.

        Raises:
            DataError: if not even one may; `what` says for what.
        """
        threads = (self.free - kept) // each
        if threads < 1:
            raise DataError(
                f"{what} takes {(each + kept) // 2**20} MiB, but ingest.memory_limit leaves {self.free // 2**20} MiB; "
                f"raise it by {(each + kept - self.free) // 2**20 + 1} MiB"
            )
        return min(_cores(), threads)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
