"""Files and folders are whole or not there."""

import errno

import pytest

from dvmap_jax.files import whole_file, whole_folder, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "text.txt"
    write_text(path, "früher")
    with whole_file(path) as draft:
        draft.write_text("later")
        assert path.read_text(encoding="utf-8") == "früher"
    assert path.read_text() == "later"
    assert names(path.parent) == ["text.txt"]


def test_file_that_fails_half_way_leaves_the_old_one_alone(tmp_path):
    path = tmp_path / "text.txt"
    write_text(path, "old")
    with pytest.raises(OSError, match="no space"), whole_file(path) as draft:
        draft.write_text("ne")
        raise OSError("no space")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["text.txt"]


def test_a_full_disk_is_named_with_what_could_not_be_written(tmp_path):
    said = r"No space left on device: \S+text.txt could not be written; what was there is unchanged"
    with pytest.raises(OSError, match=said), whole_file(tmp_path / "text.txt"):
        raise OSError(errno.ENOSPC, "")
    with pytest.raises(PermissionError, match="not yours"), whole_folder(tmp_path / "folder"):
        raise PermissionError("not yours")


def test_folder_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path):
    folder = tmp_path / "folder"
    for name in ("first", "second"):
        with whole_folder(folder) as draft:
            (draft / name).write_text(name)
    assert names(folder) == ["second"]
    assert names(tmp_path) == ["folder"]


def test_folder_that_fails_half_way_leaves_the_old_one_alone(tmp_path):
    folder = tmp_path / "folder"
    with whole_folder(folder) as draft:
        (draft / "old").write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_folder(folder) as draft:
        (draft / "new").write_text("new")
        raise KeyboardInterrupt
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["folder"]
