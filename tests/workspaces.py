"""A folder as all stages leave it, with files that are tiny, and its dvc.lock."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from physicnet.config import Params, Section
from physicnet.data.synthetic import Uniform, Waves, advected_field
from physicnet.lineage import md5_of

HERE = Path(__file__).parent.parent
SCORES = """\
model,variable,units,lead,lead_minutes,rmse,mae,csi_0.5,skill,skill_low,skill_high
ours,rain,mm h-1,1,5.0,0.25,0.1,,0.5,0.4,0.6
ours,rain,mm h-1,2,10.0,0.5,0.2,nan,0.5,0.4,0.6
persistence,rain,mm h-1,1,5.0,1,0.5,0.5,0,0,0
"""
HISTORY = """\
epoch,loss,validation_loss,validation_codebook_usage,validation_codebook_perplexity
1,0.333333,0.5,1,
2,0.25,0.125,1,2
"""


def write_workspace(root: Path) -> None:
    """Write parameters, pipeline (without code), the files of all stages and dvc.lock into the current folder."""
    (root / "params.yaml").write_text((HERE / "params.yaml").read_text())
    stages = yaml.safe_load((HERE / "dvc.yaml").read_text())["stages"]
    for stage in stages.values():
        stage["deps"] = [path for path in stage["deps"] if not path.endswith(".py")]
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    _write_files(root)
    write_lock(root)


def write_lock(root: Path) -> None:
    """Write dvc.lock for the files as they are."""
    values = yaml.safe_load((root / "params.yaml").read_text())
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    lock = {
        name: {
            "cmd": stage["cmd"],
            "deps": [{"path": path, "md5": md5_of(root / path)} for path in stage["deps"]],
            "params": {"params.yaml": {name: value_of(values, name) for name in stage["params"]}},
            "outs": [{"path": path, "md5": md5_of(root / path)} for path in _outs(stage)],
        }
        for name, stage in stages.items()
    }
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock}, sort_keys=False))


def value_of(values: Any, name: str) -> Any:
    """A section, or a parameter of one: `section.parameter`."""
    for part in name.split("."):
        values = values[part]
    return values


def paths_of(stage: str) -> dict[str, Path]:
    """The paths of a stage's command by option."""
    words = yaml.safe_load((HERE / "dvc.yaml").read_text())["stages"][stage]["cmd"].split()[2:]
    return {option[2:]: Path(path) for option, path in zip(words[::2], words[1::2], strict=True)}


def sections_of(params: Params, stage: str) -> dict[str, Section]:
    """The sections that a stage reads as a whole."""
    names = yaml.safe_load((HERE / "dvc.yaml").read_text())["stages"][stage]["params"]
    return {name: getattr(params, name) for name in names if "." not in name}


def write_results(folder: Path) -> None:
    """Write what the evaluation writes, in small."""
    for name in ("figures", "frames/rain"):
        (folder / name).mkdir(parents=True)
    (folder / "scores.csv").write_text(SCORES)
    (folder / "origins.csv").write_text("model,time\nours,2010-08-26 06:05:00\n")
    (folder / "figures" / "flow.png").write_bytes(b"png")
    for minutes in (5, 10):
        Image.new("RGB", (30, 20)).save(folder / "frames" / "rain" / f"lead_{minutes:03}.png")


def write_record(path: Path, statistics: Path) -> None:
    """Write four frames, and which part each belongs to."""
    advected_field(4, 5, 7, flow=Uniform(1.0, 0.0), pattern=Waves(num=3, wavelength=4.0, seed=0)).save(path)
    parts = {"train": [[0, 2]], "validation": [[2, 3]], "test": [[3, 4]]}
    statistics.write_text(json.dumps({"splits": parts}))


def _write_files(root: Path) -> None:
    for folder in ("data/raw", "data/catalogue", "models"):
        (root / folder).mkdir(parents=True)
    (root / "data/raw/a.nc").write_bytes(b"raw")
    (root / "data/catalogue/frames.parquet").write_bytes(b"frames")
    write_record(root / "data/fields.zarr", root / "data/statistics.json")
    write_record(root / "data/normalized.zarr", root / "data/statistics.json")
    for name in ("data/maps.safetensors", "data/crops.csv", "data/crops.png", "models/codebook.safetensors"):
        (root / name).write_bytes(name.encode())
    (root / "models/model.safetensors").write_bytes(b"weights")
    for name in ("codebook", "training"):
        (root / f"models/{name}.csv").write_text(HISTORY)
    (root / "metrics.json").write_text(json.dumps({"ours": {"rain": {"rmse": 0.375}}}))
    write_results(root / "results")


def _outs(stage: dict[str, Any]) -> list[str]:
    entries = [*stage.get("outs", []), *stage.get("metrics", [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def pipeline_of_nothing(folder: Path) -> None:
    """Write the parameters and a pipeline without stages."""
    shutil.copy(Path(__file__).parent.parent / "params.yaml", folder)
    for name in ("dvc.yaml", "dvc.lock"):
        (folder / name).write_text("stages: {}\n")
