import pytest
import yaml

from flows.params_text import replaced

VALUE = "{checkpoint: models/champion.safetensors, sha256: ab}"
MEANT = {"checkpoint": "models/champion.safetensors", "sha256": "ab"}


@pytest.mark.parametrize(
    "old",
    ["init_from: null   # or a checkpoint", "init_from:", "init_from: {checkpoint: a, sha256: b}  # last night's"],
)
def test_one_value_changes_and_nothing_beside_it(old: str) -> None:
    text = f'ingest:\n  pattern: "*.nc"   # files\n  cluster: null\ntrain:\n  {old}\n  learns: all   # or fusion\n'
    changed = replaced(text, ("train", "init_from"), VALUE)
    assert yaml.safe_load(changed)["train"] == {"init_from": MEANT, "learns": "all"}
    lines = [(one, other) for one, other in zip(text.splitlines(), changed.splitlines(), strict=True) if one != other]
    assert len(lines) == 1
    assert lines[0][1].partition("#")[2] == old.partition("#")[2]
    assert replaced(changed, ("train", "init_from"), VALUE) == changed


def test_a_value_in_lines_of_its_own_is_replaced_too() -> None:
    text = "train:\n  init_from:\n    checkpoint: a\n    sha256: b\n  learns: all\n"
    changed = replaced(text, ("train", "init_from"), VALUE)
    assert yaml.safe_load(changed) == {"train": {"init_from": MEANT, "learns": "all"}}


def test_a_key_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="train.init_from"):
        replaced("train: 1\n", ("train", "init_from"), VALUE)
