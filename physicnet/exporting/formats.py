"""The formats of exported programs, by the suffix of the file."""

import logging
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch.export import ExportedProgram

from physicnet.exporting.program import Inputs
from physicnet.fields import DataError

METADATA = "metadata.json"  # in a program's file
Write = Callable[[ExportedProgram, Inputs, str, Path], None]


def write_pt2(traced: ExportedProgram, _inputs: Inputs, metadata: str, path: Path) -> None:
    """Write a program of torch.export, which `torch.export.load` reads."""
    with warnings.catch_warnings():
        # Of weights in channels_last, which torch holds for parts of something larger; what was read back was equal.
        warnings.filterwarnings("ignore", "No complete tensor found in the group", UserWarning)
        torch.export.save(traced, path, extra_files={METADATA: metadata})


def write_onnx(traced: ExportedProgram, inputs: Inputs, metadata: str, path: Path) -> None:
    """Write an ONNX model, which ONNX Runtime runs.

    Not optimised here: the exporter's own optimisation of so many nodes takes more than nine minutes, and the runtime
    does the like when it loads them.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision, which nothing here needs
    tensors = tuple(torch.from_numpy(array) for array in inputs.values())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # torch's of its own use
        program = torch.onnx.export(
            traced, tensors, input_names=list(inputs), output_names=["frames"], optimize=False, verbose=False
        )
    assert program is not None  # it is None where a file is named
    program.model.metadata_props[METADATA] = metadata
    program.save(path, external_data=False)


WRITERS: dict[str, Write] = {".pt2": write_pt2, ".onnx": write_onnx}
NEEDED = ("onnxscript", "onnxruntime")  # by ONNX; the extra `export`


def writer_for(output: Path) -> Write:
    """Return what writes a file of this name.

    Raises:
        DataError: if its suffix is that of no format, or ONNX is asked for and not installed.
    """
    if output.suffix not in WRITERS:
        raise DataError(f"{output} names no format of programs; call it something.pt2 or something.onnx")
    missing = [name for name in NEEDED if find_spec(name) is None] if output.suffix == ".onnx" else []
    if missing:
        raise DataError(f"{output} cannot be written without {', '.join(missing)}; pip install 'physicnet[export]'")
    return WRITERS[output.suffix]
