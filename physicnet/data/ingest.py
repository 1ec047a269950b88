"""Stage 1: all raw files become one record on one grid, one clock and one unit per variable.

A file is read twice, once for the catalogue and once for the record. What earlier runs have worked out is used again
where it has stayed the same, so that new files cost what they bring.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from physicnet.config import ClipConfig, IngestConfig
from physicnet.data.archive import write_archive, write_shard
from physicnet.data.budget import Budget
from physicnet.data.catalogue import Catalogue
from physicnet.data.grids import Grids
from physicnet.data.judge import judge
from physicnet.data.progress import followed
from physicnet.data.sources import Source, find_sources
from physicnet.data.state import State
from physicnet.data.survey import Refusal, Survey, survey
from physicnet.data.workers import Workers, workers_at
from physicnet.fields import written_whole

Found = list[Survey | Refusal]


def ingest(
    config: IngestConfig, clip: ClipConfig, *, raw: Path, fields: Path, catalogue: Path, resume: Path
) -> Catalogue:
    """Read the files of the folder `raw` that match `config.pattern` into one Zarr store and a catalogue.

    A file or frame that cannot be used is quarantined: left where it is, named in the catalogue with the reason, and
    not in the record. How many are too many is for the caller to decide (`Catalogue.refuse_above`). Memory is bounded
    by `config.memory_limit`. `resume` keeps what a later run can use; what is written does not depend on it.

    Raises:
        DataError: if there is no file, or too little of them can be used to make a record; nothing is written then.
    """
    state = State(resume.resolve())
    sources = find_sources(raw, config.pattern)
    with (
        workers_at(config.cluster) as workers,
        written_whole(fields) as store,
        written_whole(catalogue) as tables,
    ):
        budget = workers.budget(config.memory_bytes, write_shard)
        found = survey_all(sources, config, budget=budget, state=state, workers=workers)
        while True:
            verdict = judge(config, found)
            verdict.check()
            shards, broken = write_archive(verdict, config, store, budget=budget, state=state, workers=workers)
            if not broken:
                break
            found = without(found, broken)
        described = Catalogue.of(verdict, config, clip.frames)
        described.write(tables)
    state.drop_all_but(shards | {survey.key for survey in found if isinstance(survey, Survey)})
    return described


def survey_all(
    sources: Sequence[Source], config: IngestConfig, *, budget: Budget, state: State | None, workers: Workers
) -> Found:
    """Survey all files, and return the results in the order of the files. Equal grids become one."""
    look, grids = partial(survey, config=config, budget=budget, state=state), Grids()
    found: dict[Source, Survey | Refusal] = {}
    for source, result in followed(workers.each(look, sources), len(sources), "looking through the files"):
        found[source] = replace(result, grid=grids.shared(result.grid)) if isinstance(result, Survey) else result
    return [found[source] for source in sources]


def without(found: Found, broken: Sequence[Refusal]) -> Found:
    """Put refusals in the place of the surveys of the same files."""
    refused = {refusal.source: refusal for refusal in broken}
    return [refused.get(result.source, result) for result in found]
