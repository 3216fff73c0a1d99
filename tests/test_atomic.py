"""Files that appear whole or not at all: what a signal at the worst moment leaves behind."""

import builtins
import os

import pytest

from streamnorm import atomic
from streamnorm.atomic import AtomicFile
from streamnorm.interrupt import Interrupted


def test_the_temporary_file_goes_with_the_object_that_made_it(tmp_path):
    file = AtomicFile(tmp_path / "a", overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == [f".a.{os.getpid()}.streamnorm-tmp"]
    del file
    assert not any(tmp_path.iterdir())


def test_a_file_with_its_real_name_stays(tmp_path):
    file = AtomicFile(tmp_path / "a", overwrite=False)
    file.write(b"whole")
    file.commit()
    del file
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"whole"]


@pytest.mark.parametrize("links", [True, False])
def test_a_target_that_appears_meanwhile_is_not_replaced(links, tmp_path, monkeypatch):
    if not links:
        monkeypatch.setattr(os, "link", lambda *names: os.stat(tmp_path / "no such file"))
    with AtomicFile(tmp_path / "a", overwrite=False) as late, AtomicFile(tmp_path / "b", overwrite=False) as other:
        late.write(b"mine")
        (tmp_path / "a").write_bytes(b"theirs")
        with pytest.raises(atomic.TargetExists, match="exists already"):
            late.commit()
        other.write(b"whole")
        other.commit()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"theirs", "b": b"whole"}


@pytest.mark.parametrize("error", [Interrupted(2), OSError(5, "Input/output error")], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("moment", ["open", "flock"])
def test_nothing_stays_of_a_file_whose_making_was_cut_short(moment, error, tmp_path, monkeypatch):
    def cut_short(*args, **options):
        if moment == "open":
            builtins.open(*args, **options).close()
        raise error

    monkeypatch.setattr(*((atomic, "open") if moment == "open" else (atomic.fcntl, "flock")), cut_short, raising=False)
    with pytest.raises(Interrupted if isinstance(error, Interrupted) else atomic.StreamnormError):
        AtomicFile(tmp_path / "a", overwrite=False)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_may_not_be_written_in_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.os, "access", lambda path, mode: path != tmp_path)  # root may write everywhere
    with pytest.raises(atomic.StreamnormError, match=r"cannot be written \(Permission denied\)"):
        atomic.check_target(tmp_path / "a", overwrite=True)


def test_a_name_that_leaves_no_room_for_the_temporary_one(tmp_path):
    with pytest.raises(atomic.StreamnormError, match="cannot be written"):
        AtomicFile(tmp_path / ("x" * 250), overwrite=False)
    assert not any(tmp_path.iterdir())


def test_a_forked_process_leaves_the_file_to_its_parent(tmp_path, monkeypatch):
    file = AtomicFile(tmp_path / "a", overwrite=False)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        file.__del__()
    assert file.path.exists()
    with file:
        file.commit()
