import re
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from tested import scores

from physicnet.fields import DataError

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "benchmarks").glob("*.md"))]


def test_the_report_says_from_where_the_forecasts_start(script: ModuleType, tmp_path: Path) -> None:
    scores().to_csv(tmp_path / "scores.csv", index=False)
    times = ["2010-08-26 06:10:00", "2010-08-26 06:05:00", "2010-08-26 06:10:00"]
    pd.DataFrame({"time": times}).to_csv(tmp_path / "origins.csv", index=False)
    assert script.report(tmp_path).startswith("2 forecast origins, 2010-08-26 06:05 to 2010-08-26 06:10 UTC.")


def test_only_the_block_between_the_marks_changes(script: ModuleType) -> None:
    text = "before\n<!-- results -->\nold\n<!-- /results -->\nafter\n"
    assert script.filled(text, "new") == "before\n<!-- results -->\nnew\n<!-- /results -->\nafter\n"


def test_a_text_without_marks_is_refused(script: ModuleType) -> None:
    with pytest.raises(DataError, match="must hold <!-- results -->"):
        script.filled("no marks", "new")


def test_a_report_without_results_is_refused(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"scores\.csv does not exist"):
        script.report(tmp_path)


def test_the_readme_has_the_marks(script: ModuleType) -> None:
    assert "new" in script.filled((ROOT / "README.md").read_text(encoding="utf-8"), "new")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"(?<!!)\[[^]]*\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert dead == []
