import platform
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from physicnet.config import ConfigError, MachineConfig
from physicnet.machine import find_device, machine


def config(**changes: object) -> MachineConfig:
    return MachineConfig.model_validate(
        {"device": "cpu", "precision": "float32", "num_threads": 1, "cache_mib": 16, "tile_cells": 2**20} | changes
    )


def test_threads_and_determinism_hold_inside_and_are_put_back() -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with machine(config(num_threads=2)) as on:
        assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (2, True)
        assert (on.rank, on.processes, on.leads) == (0, 1, True)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_precision_decides_what_products_are_computed_in() -> None:
    for precision, expected in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with machine(config(precision=precision)) as on, on.autocast():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


@pytest.mark.parametrize("name", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"machine.device: '{name}' is not available here .*; use cpu"):
        find_device(name)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is the C library of GNU that is asked")
def test_memory_of_tensors_that_are_gone_is_kept_for_the_next_ones() -> None:
    program = """
        import os, torch
        from pathlib import Path
        from physicnet.machine import machine
        from tests.test_machine import config

        def resident():
            return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        with machine(config()):
            before = resident()
            tensors = [torch.ones(2**21) for _ in range(8)]
            del tensors
            print(resident() - before)
    """
    command, root = [sys.executable, "-c", textwrap.dedent(program)], Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 0.9 * 8 * 2**23
