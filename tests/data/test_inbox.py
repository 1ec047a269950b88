"""New files, as they come: where, how slowly, how often, how broken."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import xarray as xr
from archives import fates, run
from fsspec import filesystem
from fsspec.implementations.memory import MemoryFileSystem
from object_store import KEYS, client_of, object_store
from samples import ingest_config, raw_dataset
from waiting import wait_until

from physicnet.config import CollectConfig, IngestConfig
from physicnet.data.arrivals import Collected
from physicnet.data.collect import CollectBusyError, RawBusyError, collected
from physicnet.data.inbox import Folder, is_finished
from physicnet.fields import DataError


class Place:
    """A folder with an inbox, raw data, and all that a collector needs."""

    def __init__(self, root: Path) -> None:
        self.root, self.inbox, self.raw, self.bad = root, root / "inbox", root / "raw", root / "quarantine"
        self.inbox.mkdir()

    def config(self, **changes: object) -> CollectConfig:
        settings = {
            "source": str(self.inbox),
            "quarantine": str(self.bad),
            "settled": 0,
            "stalled": 0,
            "unfinished": ["*.part"],
        }
        return CollectConfig.model_validate(settings | changes)

    def collect(
        self,
        ingest: IngestConfig | None = None,
        unread: Callable[[], AbstractContextManager[None]] = nullcontext,
        **changes: object,
    ) -> Collected:
        with self.round(ingest, unread, **changes) as result:
            return result

    def round(
        self,
        ingest: IngestConfig | None = None,
        unread: Callable[[], AbstractContextManager[None]] = nullcontext,
        **changes: object,
    ) -> AbstractContextManager[Collected]:
        own = {"work": self.root / "work", "resume": self.root / "state"}
        return collected(self.config(**changes), ingest or ingest_config(), raw=self.raw, unread=unread, **own)

    def put(self, name: str, *, first: int = 0, num_frames: int = 2, seed: int = 0, **changes: object) -> bytes:
        """Write a file of frames to the inbox, and return its content."""
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset = raw_dataset(num_frames, first=first, seed=seed)
        dataset["rate"].attrs.update(changes)
        dataset.to_netcdf(path)
        return path.read_bytes()

    def reason(self, name: str) -> str:
        return (self.bad / f"{name}.reason.txt").read_text()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(result: Collected) -> list[str]:
    return [arrival.name for arrival in result.accepted]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_file_is_taken_once_and_told_with_its_frames_and_times(place: Place) -> None:
    content = place.put("a.nc", num_frames=3)
    result = place.collect()
    assert (names(result), result.frames) == (["a.nc"], 3)
    assert (result.first, result.last) == ("2020-06-01T00:00:00", "2020-06-01T00:10:00")
    assert files(place.raw) == {"a.nc": content}
    assert files(place.inbox) == {}
    assert place.collect() == Collected()


def test_a_file_that_is_renamed_into_the_inbox_is_left_alone_until_it_has_settled(place: Place) -> None:
    place.put("a.nc")
    os.utime(place.inbox / "a.nc", (0, 0))  # as copies that keep the time of the original
    (place.inbox / "a.nc").rename(place.inbox / "b.nc")
    assert place.collect(settled=20, stalled=20).waiting == {"b.nc": "it has changed in the last 20 seconds"}
    assert list(files(place.inbox)) == ["b.nc"]
    time.sleep(0.3)
    assert names(place.collect(settled=0.2, stalled=0.2)) == ["b.nc"]


def test_a_slow_copy_is_taken_when_it_is_complete(place: Place, tmp_path: Path) -> None:
    """It stalls for longer than a file must have settled; the half file cannot be read, and waits."""
    content = place.put("slow.nc", num_frames=5)
    (place.inbox / "slow.nc").unlink()
    go_on = Event()

    def copy() -> None:
        with (place.inbox / "slow.nc").open("wb", buffering=0) as file:
            for part in np.array_split(np.frombuffer(content, np.uint8), 4):
                file.write(part.tobytes())
                go_on.wait(30)
                go_on.clear()

    copier = Thread(target=copy)
    copier.start()
    for written in range(4):
        assert wait_until(lambda: (place.inbox / "slow.nc").exists())
        time.sleep(0.3)
        result = place.collect(settled=0.1, stalled=600)
        if written < 3:
            assert "its copy may go on" in result.waiting["slow.nc"]
            assert files(place.raw) == files(place.bad) == {}
        go_on.set()
        time.sleep(0.05)
    copier.join()
    assert names(result) == ["slow.nc"]
    assert files(place.raw) == {"slow.nc": content}


@pytest.mark.parametrize("name", [".a.nc", "a.nc.part", "sub/.hidden/a.nc", "../a.nc", "/a.nc", "b//a.nc"])
def test_names_of_half_copies_hidden_ones_and_ways_out_are_never_taken(name: str) -> None:
    assert not is_finished(name, ["*.part"])
    assert is_finished("sub/a.nc", ["*.part"])


def test_what_has_an_unfinished_name_stays_in_the_inbox_unmentioned(place: Place) -> None:
    for name in (".a.nc", "b.nc.part"):
        place.put(name)
    assert place.collect() == Collected()
    assert sorted(files(place.inbox)) == [".a.nc", "b.nc.part"]


def test_many_files_at_once_in_folders_and_out_of_order(place: Place) -> None:
    contents = {f"day{n % 2}/{n}.nc": place.put(f"day{n % 2}/{n}.nc", first=2 * n, seed=n) for n in (7, 3, 0, 5, 1, 2)}
    result = place.collect(ingest_config(pattern="**/*.nc"))
    assert files(place.raw) == contents
    assert (len(result.accepted), result.frames, result.last) == (6, 12, "2020-06-01T01:15:00")
    late = place.put("day0/4.nc", first=8, seed=4)
    assert names(place.collect(ingest_config(pattern="**/*.nc"))) == ["day0/4.nc"]
    assert files(place.raw) == contents | {"day0/4.nc": late}


def test_the_same_content_is_taken_once_under_whatever_name(place: Place) -> None:
    content = place.put("a.nc")
    (place.inbox / "b.nc").write_bytes(content)
    result = place.collect()
    assert (names(result), result.duplicates) == (["a.nc"], {"b.nc": "a.nc"})
    for name in ("a.nc", "c.nc"):
        (place.inbox / name).write_bytes(content)
    assert place.collect() == Collected(duplicates={"a.nc": "a.nc", "c.nc": "a.nc"})
    assert (files(place.raw), files(place.inbox)) == ({"a.nc": content}, {})


def test_a_correction_under_the_same_name_comes_behind_the_first_and_wins_in_the_catalogue(place: Place) -> None:
    first = place.put("a.nc", seed=1)
    place.collect()
    second = place.put("a.nc", seed=2)
    assert names(place.collect()) == ["a_2.nc"]
    third = place.put("a.nc", seed=3)
    assert names(place.collect()) == ["a_3.nc"]
    assert files(place.raw) == {"a.nc": first, "a_2.nc": second, "a_3.nc": third}
    assert fates(run(place.raw)[1]) == {"a.nc": "superseded", "a_2.nc": "superseded", "a_3.nc": "accepted"}


def test_a_correction_is_quarantined_where_conflicts_are_refused(place: Place) -> None:
    refuse = ingest_config(on_conflict="refuse")
    place.put("a.nc", seed=1)
    place.collect(refuse)
    place.put("a.nc", seed=2)
    result = place.collect(refuse)
    assert list(result.quarantined) == ["a.nc"]
    assert "a.nc has other values of rate at 2020-06-01T00:00:00" in place.reason("a.nc")


def test_a_late_file_does_not_put_out_one_that_stands(place: Place) -> None:
    """In the order of names it would come first, and ingest would refuse the other."""
    refuse = ingest_config(on_conflict="refuse")
    place.put("b.nc", seed=1)
    place.collect(refuse)
    place.put("a.nc", first=1, seed=2)
    place.put("c.nc", first=2, seed=3)
    result = place.collect(refuse)
    assert names(result) == ["c.nc"]
    assert "beside it ingest would refuse b.nc, which stands in the archive" in place.reason("a.nc")
    _, catalogue = run(place.raw, on_conflict="refuse")
    assert catalogue.num_refused == 0


def test_overlapping_files_are_the_catalogues_matter(place: Place) -> None:
    place.put("a.nc", num_frames=4)
    overlap = raw_dataset(4)
    place.collect()
    later = raw_dataset(4, first=2, seed=9)
    xr.concat([overlap.isel(time=slice(2, 4)), later.isel(time=slice(2, 4))], "time", data_vars="minimal").to_netcdf(
        place.inbox / "b.nc"
    )
    assert names(place.collect()) == ["b.nc"]
    _, catalogue = run(place.raw)
    assert catalogue.files["reason"].iloc[1] == "2 of 4 frames duplicate: repeats the frame in a.nc"


def spoil_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def spoil_html(path: Path) -> None:
    path.write_text("<html>404</html>")


def spoil_empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (spoil_truncated, "cannot be read as NetCDF"),
        (spoil_html, "it is a web page or XML under a wrong name"),
        (spoil_empty, "it is empty"),
    ],
)
def test_a_broken_file_goes_to_quarantine_when_no_copy_can_go_on(
    place: Place, spoil: Callable[[Path], None], why: str
) -> None:
    good = place.put("good.nc")
    place.put("bad.nc", first=2)
    spoil(place.inbox / "bad.nc")
    content = (place.inbox / "bad.nc").read_bytes()
    result = place.collect(stalled=60)
    assert (names(result), list(result.waiting)) == (["good.nc"], ["bad.nc"])
    result = place.collect()
    assert list(result.quarantined) == ["bad.nc"]
    assert why in place.reason("bad.nc")
    assert (files(place.raw), files(place.inbox)) == ({"good.nc": good}, {})
    assert (place.bad / "bad.nc").read_bytes() == content


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda data: data.assign(rate=data["rate"].assign_attrs(units="K")), "units"),
        (lambda data: data.rename(rate="snow"), "rate"),
        (lambda data: data.assign_coords(east=data["east"] + 1), "keep files of one kind in the folder"),
        (lambda data: data.assign_coords(time=data["time"] + np.timedelta64(90, "s")), "after the beat of 300 s"),
    ],
)
def test_what_ingest_would_refuse_goes_to_quarantine_with_its_words(
    place: Place, spoil: Callable[[xr.Dataset], xr.Dataset], why: str
) -> None:
    place.put("a.nc", num_frames=5)
    place.collect()
    spoil(raw_dataset(2, first=5)).to_netcdf(place.inbox / "b.nc")
    place.put("c.nc", first=7)
    result = place.collect()
    assert (names(result), list(result.quarantined)) == (["c.nc"], ["b.nc"])
    assert why in place.reason("b.nc")
    shutil.copy(place.bad / "b.nc", place.raw)
    assert run(place.raw)[1].num_refused == 1  # the collector was right


def test_a_majority_of_another_grid_does_not_put_out_what_stands(place: Place) -> None:
    place.put("a.nc", num_frames=2)
    place.collect()
    raw_dataset(9, height=5, first=2).to_netcdf(place.inbox / "b.nc")
    good = place.put("c.nc", first=2)
    assert list(place.collect().quarantined) == ["b.nc"]
    assert "beside it ingest would refuse a.nc" in place.reason("b.nc")
    assert files(place.raw)["c.nc"] == good


def test_the_first_files_of_an_archive_decide_among_themselves(place: Place) -> None:
    raw_dataset(2, height=5).to_netcdf(place.inbox / "a.nc")
    for n in (1, 2):
        place.put(f"{n}.nc", first=2 * n)
    result = place.collect()
    assert (names(result), list(result.quarantined)) == (["1.nc", "2.nc"], ["a.nc"])


def test_a_name_that_ingest_leaves_out_goes_to_quarantine(place: Place) -> None:
    place.put("b.txt")
    place.collect()
    assert "ingest.pattern, '*.nc', leaves out its name" in place.reason("b.txt")
    assert not place.raw.joinpath("b.txt").exists()


def test_no_other_name_is_found_where_names_tell_the_time(place: Place) -> None:
    told = ingest_config(time_from_name="%Y%m%d%H%M.nc")
    for seed in (1, 2):
        frame = raw_dataset(1, seed=seed).isel(time=0, drop=True)
        frame.to_netcdf(place.inbox / "202006010000.nc")
        result = place.collect(told)
    assert "has another file of this name" in result.quarantined["202006010000.nc"]


def test_links_and_pipes_are_refused_and_never_opened(place: Place, tmp_path: Path) -> None:
    (tmp_path / "secret.nc").write_bytes(place.put("a.nc"))
    (place.inbox / "link.nc").symlink_to(tmp_path / "secret.nc")
    os.mkfifo(place.inbox / "pipe.nc")
    result = place.collect()
    assert names(result) == ["a.nc"]
    assert "it is a link" in place.reason("link.nc")
    assert "it is no regular file" in place.reason("pipe.nc")
    assert (tmp_path / "secret.nc").exists()


def test_quarantine_keeps_files_of_one_name_apart_and_equal_ones_once(place: Place) -> None:
    for text in ("one", "two", "one"):
        (place.inbox / "a.nc").write_text(text)
        place.collect()
    contents = {name: content for name, content in files(place.bad).items() if "reason" not in name}
    assert contents == {"a.nc": b"one", "a_2.nc": b"two"}
    assert place.reason("a_2.nc")


def test_everything_waits_while_somebody_reads_the_raw_data(place: Place) -> None:
    @contextmanager
    def busy() -> Iterator[None]:
        raise RawBusyError("a stage reads it")
        yield

    place.put("a.nc")
    (place.inbox / "bad.nc").write_text("no")
    assert place.collect(unread=busy).waiting == {"a.nc": "a stage reads it", "bad.nc": "a stage reads it"}
    assert sorted(files(place.inbox)) == ["a.nc", "bad.nc"]
    assert names(place.collect()) == ["a.nc"]


def test_of_two_collectors_at_once_the_second_ends(place: Place) -> None:
    with place.round(), pytest.raises(CollectBusyError, match="another process collects"):
        place.collect()
    assert place.collect() == Collected()


def test_a_file_that_changes_while_it_is_looked_at_waits(place: Place) -> None:
    @contextmanager
    def writing() -> Iterator[None]:
        with (place.inbox / "a.nc").open("ab") as file:
            file.write(b"more")
        yield

    place.put("a.nc")
    assert place.collect(unread=writing).waiting == {"a.nc": "it changed while it was looked at"}
    assert files(place.raw) == {}


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(place: Place) -> None:
    @contextmanager
    def putting() -> Iterator[None]:
        (place.raw / "a.nc").write_text("by hand")
        yield

    content = place.put("a.nc")
    (place.raw).mkdir()
    ingest = ingest_config(pattern="a*.nc")
    passes = iter([nullcontext, putting])
    result = place.collect(ingest, unread=lambda: next(passes)())
    assert "exists, and is not replaced" in result.waiting["a.nc"]
    assert (files(place.raw), files(place.inbox)) == ({"a.nc": b"by hand"}, {"a.nc": content})


def test_what_was_not_announced_is_told_again(place: Place) -> None:
    class PowerError(Exception):
        pass

    place.put("a.nc")
    with pytest.raises(PowerError), place.round():
        raise PowerError
    place.put("b.nc", first=2)
    assert names(place.collect()) == ["a.nc", "b.nc"]
    assert place.collect() == Collected()


def test_another_file_system_is_entered_by_a_copy(place: Place) -> None:
    other = Path("/dev/shm") / f"physicnet-{os.getpid()}"
    if not other.parent.is_dir() or other.parent.stat().st_dev == place.root.stat().st_dev:
        pytest.skip("/dev/shm is no other file system here")
    other.mkdir()
    try:
        content = place.put("a.nc")
        shutil.move(place.inbox / "a.nc", other)
        assert names(place.collect(source=str(other))) == ["a.nc"]
        assert (files(place.raw), list(other.iterdir())) == ({"a.nc": content}, [])
    finally:
        shutil.rmtree(other)


def test_a_source_that_cannot_be_listed_is_named(place: Place) -> None:
    with pytest.raises(DataError, match=r"collect\.source: .*nowhere cannot be listed"):
        place.collect(source=str(place.root / "nowhere"))
    with pytest.raises(DataError, match=r"collect\.source 'nosuch://bucket' cannot be opened"):
        place.collect(source="nosuch://bucket")


def test_a_file_that_vanishes_is_nobodys(place: Place) -> None:
    place.put("a.nc")
    inbox = Folder(place.inbox)
    (entry,) = inbox.entries()
    (place.inbox / "a.nc").unlink()
    with pytest.raises(FileNotFoundError, match="a.nc"):
        inbox.local(entry)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 store's bucket `observations`, as its client sees it."""
    with object_store("observations") as address:
        for name, value in (KEYS | {"AWS_ENDPOINT_URL": address}).items():
            monkeypatch.setenv(name, value)
        yield client_of(address)
    type(filesystem("s3")).clear_instance_cache()  # it would keep the address


def keys(bucket: Any) -> list[str]:
    return [entry["Key"] for entry in bucket.list_objects_v2(Bucket="observations").get("Contents", [])]


def test_an_s3_store_is_emptied_into_the_folder(place: Place, bucket: Any) -> None:
    """With a folder marker, a name that leads out, and one that is not finished."""
    contents = {f"new/{n}.nc": place.put(f"{n}.nc", first=2 * n, seed=n) for n in range(3)}
    left = {"new/": b"", "new/a.nc.part": b"half", "new/../../out.nc": contents["new/0.nc"], "elsewhere.nc": b""}
    for name, content in (contents | left | {"new/bad.nc": b"<html>"}).items():
        bucket.put_object(Bucket="observations", Key=name, Body=content)
    source = "s3://observations/new"
    assert list(place.collect(source=source, settled=60, stalled=60).waiting) == ["0.nc", "1.nc", "2.nc", "bad.nc"]
    result = place.collect(source=source)
    assert (names(result), list(result.quarantined)) == (["0.nc", "1.nc", "2.nc"], ["bad.nc"])
    assert {f"new/{name}": content for name, content in files(place.raw).items()} == contents
    assert sorted(keys(bucket)) == sorted(left)
    assert files(place.root / "work" / "downloads") == {}

    bucket.put_object(Bucket="observations", Key="new/again.nc", Body=contents["new/1.nc"])
    assert place.collect(source=source) == Collected(duplicates={"again.nc": "1.nc"})
    assert sorted(keys(bucket)) == sorted(left)


@pytest.mark.parametrize(("moment", "taken"), [(1, []), (2, ["a.nc"])])
def test_what_is_replaced_in_the_store_meanwhile_is_not_lost(
    place: Place, bucket: Any, moment: int, taken: list[str]
) -> None:
    """Before it was fetched, the new one is taken in the next round; after that, too, beside the old one."""
    first, second = (place.put("a.nc", seed=seed) for seed in (1, 2))
    passes: list[int] = []

    @contextmanager
    def replacing() -> Iterator[None]:
        passes.append(1)
        if len(passes) == moment:
            bucket.put_object(Bucket="observations", Key="a.nc", Body=second)
        yield

    bucket.put_object(Bucket="observations", Key="a.nc", Body=first)
    source = "s3://observations"
    assert names(place.collect(source=source, unread=replacing)) == taken
    place.collect(source=source)
    assert set(files(place.raw).values()) == {second} | ({first} if taken else set())
    assert keys(bucket) == []


def test_a_bucket_that_is_not_there_is_named(place: Place, bucket: Any) -> None:
    with pytest.raises(DataError, match=r"collect\.source: nowhere/new cannot be listed"):
        place.collect(source="s3://nowhere/new")


def test_a_store_is_emptied_into_the_folder(place: Place) -> None:
    store = MemoryFileSystem()
    contents = {f"{n}.nc": place.put(f"{n}.nc", first=2 * n, seed=n) for n in range(3)} | {"bad.nc": b"<html>"}
    for name, content in contents.items():
        store.pipe_file(f"/observations/{name}", content)
    shutil.rmtree(place.inbox)
    try:
        result = place.collect(source="memory://observations")
        assert names(result) == ["0.nc", "1.nc", "2.nc"]
        assert list(result.quarantined) == ["bad.nc"]
        assert store.find("/observations") == []
        assert files(place.raw) | {"bad.nc": (place.bad / "bad.nc").read_bytes()} == contents
        assert files(place.root / "work" / "downloads") == {}
    finally:
        MemoryFileSystem.store.clear()
