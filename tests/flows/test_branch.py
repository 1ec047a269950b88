import subprocess
from pathlib import Path

import pytest

from flows.branch import GitError, commit


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a physicist")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "physicist@example.org")
    git("init", "--quiet", "--initial-branch", "main")
    (tmp_path / "dvc.lock").write_text("1")
    (tmp_path / "code.py").write_text("code")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    return tmp_path


def test_the_branch_gets_the_files_and_the_checkout_stays_as_it_is(checkout: Path) -> None:
    (checkout / "dvc.lock").write_text("2")
    (checkout / "code.py").write_text("being written")
    (checkout / "staged.py").write_text("staged")
    git("add", "staged.py")
    before, head = git("status", "--porcelain"), git("rev-parse", "HEAD")
    made = commit("retrained", ["dvc.lock", "metrics.json"], "Promoted: version 2")
    assert git("rev-parse", "retrained") == made
    assert git("log", "--format=%s", "retrained").splitlines() == ["Promoted: version 2", "first"]
    assert git("diff", "--name-only", "main", "retrained") == "dvc.lock"
    assert git("show", "retrained:dvc.lock") == "2"
    assert (git("status", "--porcelain"), git("rev-parse", "HEAD")) == (before, head)


def test_commits_follow_each_other_and_nothing_new_makes_none(checkout: Path) -> None:
    (checkout / "dvc.lock").write_text("2")
    first = commit("retrained", ["dvc.lock"], "one")
    assert commit("retrained", ["dvc.lock"], "again") == first
    (checkout / "metrics.json").write_text("{}")
    second = commit("retrained", ["dvc.lock", "metrics.json"], "two")
    assert git("rev-parse", f"{second}^") == first


def test_files_that_git_ignores_are_committed_too(checkout: Path) -> None:
    (checkout / ".gitignore").write_text("reports/\n")
    (checkout / "reports").mkdir()
    (checkout / "reports" / "promotion.json").write_text("{}")
    commit("retrained", ["reports/promotion.json"], "one")
    assert git("show", "retrained:reports/promotion.json") == "{}"


def test_the_branch_at_work_is_refused(checkout: Path) -> None:
    (checkout / "dvc.lock").write_text("2")
    with pytest.raises(GitError, match=r"branch main is checked out here; name another in retrain\.branch"):
        commit("main", ["dvc.lock"], "one")


def test_without_a_repository_git_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(GitError, match="not a git repository"):
        commit("retrained", ["dvc.lock"], "one")
