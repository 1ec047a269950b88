from pathlib import Path

import pytest

from physicnet.fields import DataError
from physicnet.source import frames

PATTERN = "{clip}/{frame}.*"


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def found(folder: Path, pattern: str = PATTERN, num_frames: int | None = None) -> dict[str, list[str]]:
    return {clip.name: [path.name for path in clip.pictures] for clip in frames.find(folder, pattern, num_frames)}


def test_clips_and_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{clip}/{frame}.png" for clip in (10, 9, 100) for frame in range(12)))
    assert list(found(tmp_path)) == ["9", "10", "100"]
    assert found(tmp_path)["10"] == [f"{frame}.png" for frame in range(12)]


def test_frames_may_have_zeros_before_their_numbers_and_begin_anywhere(tmp_path: Path) -> None:
    touch(tmp_path, "0/0008.png", "0/0009.png", "0/0010.png")
    assert found(tmp_path)["0"] == ["0008.png", "0009.png", "0010.png"]


@pytest.mark.parametrize(
    ("pattern", "name", "clip"),
    [
        ("clip_{clip}/frame_{frame}.*", "clip_a b/frame_0.jpg", "a b"),
        ("{clip}_{frame}.png", "lamp_2_0.png", "lamp_2"),
        ("train/{clip}/{frame}.jpg", "train/7/0.jpg", "7"),
        ("*/{clip}/{frame}.jpg", "test/7/0.jpg", "7"),
    ],
)
def test_the_pattern_says_what_is_a_clip(tmp_path: Path, pattern: str, name: str, clip: str) -> None:
    assert found(touch(tmp_path, name, "readme.txt", "0/0.gif"), pattern) == {clip: [Path(name).name]}


def test_the_first_frames_of_each_clip_may_be_enough(tmp_path: Path) -> None:
    touch(tmp_path, "0/0.png", "0/1.png", "0/2.png", "1/0.png", "1/1.png")
    assert found(tmp_path, num_frames=2) == {"0": ["0.png", "1.png"], "1": ["0.png", "1.png"]}


@pytest.mark.parametrize("pattern", ["{clip}/*.png", "{frame}.png", "{clip}/{frame}/{frame}.png"])
def test_a_pattern_without_a_placeholder_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(DataError, match=r"must have \{(clip|frame)\} once; write it as '\{clip\}/\{frame\}.png'"):
        frames.find(tmp_path, pattern, None)


def test_a_folder_without_clips_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no file of the pattern '\{clip\}/\{frame\}\.\*'; write it as"):
        frames.find(touch(tmp_path, "0.png"), PATTERN, None)


def test_a_missing_frame_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "0/0.png", "0/1.png", "0/4.png")
    with pytest.raises(DataError, match=r"clip 0 has no frame 2, but others up to .*4\.png: time would leap there"):
        frames.find(tmp_path, PATTERN, None)


def test_a_frame_that_is_there_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0/01\.png and .*0/1\.png are both frame 1 of clip 0; remove one"):
        frames.find(touch(tmp_path, "0/0.png", "0/1.png", "0/01.png"), PATTERN, None)


def test_clips_of_different_lengths_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "0/0.png", "0/1.png", "1/0.png", "1/1.png", "1/2.png")
    with pytest.raises(DataError, match=r"clip 1 \(.*1\) has 3 frames, and clip 0 has 2; leave it out, or take fewer"):
        frames.find(tmp_path, PATTERN, None)


def test_a_clip_that_is_too_short_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"clip 0 \(.*0\) has 2 frames, and 3 are wanted"):
        frames.find(touch(tmp_path, "0/0.png", "0/1.png"), PATTERN, 3)


def test_the_digest_changes_with_names_and_sizes(tmp_path: Path) -> None:
    touch(tmp_path, "0/0.png", "0/1.png")
    before = frames.digest(frames.find(tmp_path, PATTERN, None))
    assert frames.digest(frames.find(tmp_path, PATTERN, None)) == before
    (tmp_path / "0" / "1.png").write_bytes(b"another length")
    assert frames.digest(frames.find(tmp_path, PATTERN, None)) != before
