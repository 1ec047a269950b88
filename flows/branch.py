"""Commits to a git branch that leave the checkout, its branch and its index as they are."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory


class GitError(RuntimeError):
    """Git refused a command."""


def commit(branch: str, paths: Sequence[str], message: str) -> str:
    """Commit the files at `paths`, as they are in the current folder, on top of a branch; return the commit's hash.

    The branch begins at HEAD if it does not exist. Files that do not exist are left out. Where the files are those of
    the branch already, there is no new commit: the hash is that of its last one.

    Raises:
        GitError: if there is no repository, if the branch is checked out (its files would seem changed back), or if git
            fails.
    """
    reference = f"refs/heads/{branch}"
    if _git("symbolic-ref", "--quiet", "HEAD", check=False) == reference:
        raise GitError(f"branch {branch} is checked out here; name another in retrain.branch, or check out another")
    parent = _git("rev-parse", "--verify", "--quiet", reference, check=False) or _git("rev-parse", "HEAD")
    with TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        _git("read-tree", parent, index=index)
        _git("add", "--force", "--", *(path for path in paths if Path(path).exists()), index=index)
        tree = _git("write-tree", index=index)
    if tree == _git("rev-parse", f"{parent}^{{tree}}"):
        return parent
    made = _git("commit-tree", tree, "-p", parent, "-m", message)
    _git("update-ref", reference, made)
    return made


def _git(*arguments: str, check: bool = True, index: Path | None = None) -> str:
    environment = os.environ if index is None else {**os.environ, "GIT_INDEX_FILE": str(index)}
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, env=environment)
    if check and done.returncode != 0:
        raise GitError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()
