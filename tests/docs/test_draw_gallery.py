import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from physicnet.fields import DataError

ROOT = Path(__file__).parent.parent.parent


def errors(name: str, variable: str, units: str, values: list[float]) -> pd.DataFrame:
    common = {"set": name, "variable": variable, "units": units}
    rows = [
        common | {"model": model, "lead": lead, "rmse": value}
        for model, (first, second) in zip(("physicnet", "persistence"), np.reshape(values, (2, 2)), strict=True)
        for lead, value in (("10 s", first), ("20 s", second))
    ]
    return pd.DataFrame(rows)


def read(script: ModuleType) -> pd.DataFrame:
    return pd.read_csv(script.ERRORS, dtype={"units": str})


@pytest.mark.parametrize("name", ["radar", *sorted(path.stem for path in (ROOT / "sets").glob("*.txt"))])
def test_every_set_is_described_by_its_source(script: ModuleType, name: str) -> None:
    what, made = script.told(name)
    assert ":" not in what
    assert re.fullmatch(r"The data: `(physicnet source [^`]*[^.`]|data/raw)`( of this repository)?\.", made)


def test_a_set_that_is_not_there_is_refused(script: ModuleType) -> None:
    with pytest.raises(DataError, match=r"grey-scott: no such set; there are radar, .*gray-scott"):
        script.told("grey-scott")


def test_the_page_has_a_section_for_each_set_with_its_source_its_figure_and_its_errors(script: ModuleType) -> None:
    drawn = [
        errors("gray-scott", "u", "1", [0.1, 0.25, 0.5, 1]),
        errors("radar", "rain_rate", "mm h-1", [1, 2, 3, 4]),
    ]
    page = script.page(pd.concat(drawn))
    assert page.startswith("# Gallery\n")
    assert (
        "## Patterns of Gray and Scott\n\nThe data: `physicnet source reaction-diffusion --system gray-scott`.\n\n"
        "![Patterns of Gray and Scott](gallery/gray-scott.png)\n\n"
        "| RMSE of u | 10 s | 20 s |\n|---|--:|--:|\n| PhysicNet | 0.1 | 0.25 |\n| Persistence | 0.5 | 1 |\n" in page
    )
    assert "| RMSE of rain_rate (mm h-1) | 10 s | 20 s |" in page
    assert "![Rain over the Netherlands](gallery/radar.png)" in page


def test_the_page_in_the_repository_is_what_its_errors_make(script: ModuleType) -> None:
    assert script.PAGE.read_text(encoding="utf-8") == script.page(read(script))
    for name in read(script)["set"].unique():
        assert (script.FOLDER / f"{name}.png").is_file()
