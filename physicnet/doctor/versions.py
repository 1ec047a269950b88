"""The installed packages: what is known not to work together, what physicnet asks for, what was tried together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from physicnet.doctor.findings import Finding, error, first, not_checked, ok, warning

SUBJECT = "packages"
PINS = Path("constraints.txt")


@dataclass(frozen=True)
class KnownBad:
    """Versions that install side by side and fail; pip does not complain of them."""

    packages: Mapping[str, str]  # name: versions
    symptom: str
    remedy: str


# Each was seen to fail, the versions next to it were seen to work.
KNOWN_BAD = (
    KnownBad(
        {"prefect": "==3.8.*", "fastapi": ">=0.155"},
        "Prefect's server cannot start (TypeError: Body() got an unexpected keyword argument 'min_items')",
        "pip install 'fastapi>=0.139,<0.151'",
    ),
    KnownBad(
        {"prefect": "==3.8.*", "fastapi": ">=0.151,<0.155"},
        "the server takes no limit of null: prefect deploy, deployment ls and automation ls end with status 422",
        "pip install 'fastapi>=0.139,<0.151'",
    ),
    KnownBad(
        {"prefect": "==3.8.*", "sqlalchemy": ">=2.1"},
        "the scheduler fails each minute, in the server's log alone: deployments look well, no run is ever scheduled",
        "pip install 'sqlalchemy>=2.0,<2.1'",
    ),
    KnownBad(
        {"mlflow": "<3.17"},
        "whoever reaches MLflow's server can read files, or run code, by faults that were mended since",
        "pip install 'mlflow>=3.17.2,<3.18', then: mlflow db upgrade sqlite:///mlflow/mlflow.db",
    ),
)


def check() -> Iterator[Finding]:
    """Compare what is installed with all three."""
    installed = installed_versions()
    bad = list(known_bad(installed))
    unmet = list(unmet_requirements(installed))
    yield from bad
    yield from unmet
    if not PINS.is_file():
        yield not_checked(SUBJECT, f"there is no {PINS} in this folder, so no pins to compare with")
        return
    yield from differing(installed, pins(PINS.read_text(encoding="utf-8")), is_known=bool(bad or unmet))


def installed_versions() -> dict[str, str]:
    """The version of each installed package, without what tells one build from another (2.13.0+cpu: 2.13.0).

    Of a package that is there twice it is the one that Python imports: the first on its path.
    """
    found: dict[str, str] = {}
    for each in distributions():
        found.setdefault(canonicalize_name(each.metadata["Name"]), each.version.partition("+")[0])
    return found


def known_bad(installed: Mapping[str, str]) -> Iterator[Finding]:
    """The combinations of the table that are installed."""
    for entry in KNOWN_BAD:
        if all(_is_in(installed.get(name), versions) for name, versions in entry.packages.items()):
            together = " with ".join(f"{name} {installed[name]}" for name in entry.packages)
            yield error(SUBJECT, f"{together}: {entry.symptom}", entry.remedy)


def unmet_requirements(installed: Mapping[str, str]) -> Iterator[Finding]:
    """What physicnet asks for and does not find; that it is not installed itself is one line."""
    try:
        required = [Requirement(text) for text in requires("physicnet") or []]
    except PackageNotFoundError:
        yield error(SUBJECT, "physicnet is not installed in this environment", "pip install -c constraints.txt -e .")
        return
    for need in required:
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        found = installed.get(canonicalize_name(need.name))
        if found is None or not need.specifier.contains(found, prereleases=True):
            yield error(
                SUBJECT,
                f"{need.name} {found or 'is not installed'}, physicnet needs {need.specifier}",
                f"pip install -c constraints.txt '{need.name}{need.specifier}'",
            )


def pins(text: str) -> dict[str, str]:
    """The versions that a file of constraints holds."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    pairs = (line.split("==") for line in lines if "==" in line)
    return {canonicalize_name(name): version for name, version in pairs}


def differing(installed: Mapping[str, str], pinned: Mapping[str, str], *, is_known: bool) -> Iterator[Finding]:
    """What is installed in another version than the pinned one; what is not installed does not count."""
    shared = [name for name in pinned if name in installed]
    others = [
        f"{name} {installed[name]} (pinned: {pinned[name]})" for name in shared if installed[name] != pinned[name]
    ]
    if others:
        yield warning(
            SUBJECT,
            f"{len(others)} of {len(shared)} pinned packages are installed in other versions, never tried together: "
            f"{first(others)}",
            "pip install -c constraints.txt -e '.[dev]'",
        )
    elif not is_known:
        yield ok(SUBJECT, f"{len(shared)} are installed as pinned in {PINS}, none of them known to fail together")


def _is_in(version: str | None, versions: str) -> bool:
    return version is not None and SpecifierSet(versions).contains(version, prereleases=True)
