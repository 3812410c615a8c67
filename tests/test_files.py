"""Files are written whole or not at all, in place of regular files only, with the permissions that they had."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from renoise import ImageError, images
from renoise.errors import StorageError
from renoise.files import as_path, require_replaceable, write_atomically

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    for data in (b"first", b"second"):
        write_atomically(target, data)
        assert target.read_bytes() == data
    assert list(tmp_path.iterdir()) == [target]


def test_what_was_there_survives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.bin"
    write_atomically(target, b"before")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("replace", "fsync"):
        with monkeypatch.context() as broken:
            broken.setattr(os, name, full)
            with pytest.raises(OSError, match="No space"):
                write_atomically(target, b"after")
        assert target.read_bytes() == b"before"
        assert list(tmp_path.iterdir()) == [target]


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.bin", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.bin"
    link.symlink_to(tmp_path / "there" / "real.bin")
    for data in (b"new", b"old"):
        write_atomically(link, data)
        assert link.is_symlink()
        assert (tmp_path / "there" / "real.bin").read_bytes() == data
    assert [p.name for p in (tmp_path / "there").iterdir()] == ["real.bin"]


def test_permissions_are_the_ordinary_ones(tmp_path: Path) -> None:
    (tmp_path / "ordinary").write_bytes(b"")
    write_atomically(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666, 0o200, 0o755])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"before")
    target.chmod(mode)
    write_atomically(target, b"after")
    assert stat.S_IMODE(target.stat().st_mode) == mode
    target.chmod(0o600)
    assert target.read_bytes() == b"after"


@pytest.mark.skipif(not ROOT, reason="only the superuser can give files away")
def test_a_file_that_is_replaced_keeps_its_owner(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"before")
    os.chown(target, 12345, 54321)
    write_atomically(target, b"after")
    assert (target.stat().st_uid, target.stat().st_gid, target.read_bytes()) == (12345, 54321, b"after")


def nothing_to_replace(folder: Path, what: str) -> Path:
    """A path that is there and must stay what it is."""
    path = folder / "out.png"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "link to a pipe":
        os.mkfifo(folder / "pipe")
        path.symlink_to("pipe")
    elif what == "device":
        path.symlink_to("/dev/full" if Path("/dev/full").exists() else os.devnull)
    elif what == "loop":
        path.symlink_to("again.png")
        (folder / "again.png").symlink_to("out.png")
    elif what == "folder":
        path.mkdir()
    elif what == "read-only":
        path.write_bytes(b"mine")
        path.chmod(0o444)
    elif what == "link to a read-only file":
        (folder / "kept").write_bytes(b"mine")
        (folder / "kept").chmod(0o400)
        path.symlink_to("kept")
    return path


KINDS = ["pipe", "link to a pipe", "device", "loop", "folder", "read-only", "link to a read-only file"]


@pytest.mark.skipif(os.name != "posix", reason="pipes, devices and permissions of POSIX")
@pytest.mark.parametrize("what", KINDS)
def test_what_cannot_be_replaced_stays_what_it_is(tmp_path: Path, what: str) -> None:
    path = nothing_to_replace(tmp_path, what)
    before = sorted((p.name, p.lstat().st_mode, p.lstat().st_ino) for p in tmp_path.iterdir())
    device = os.stat(path).st_rdev if what == "device" else 0
    with pytest.raises(OSError):  # noqa: PT011 - each has its own
        write_atomically(path, b"data")
    with pytest.raises(OSError):  # noqa: PT011
        require_replaceable(path)
    with pytest.raises(ImageError):
        images.check_writable(path)
    assert sorted((p.name, p.lstat().st_mode, p.lstat().st_ino) for p in tmp_path.iterdir()) == before
    if what == "device":
        assert stat.S_ISCHR(os.stat(path).st_mode)
        assert os.stat(path).st_rdev == device


STRANGER = """
import os, sys
from pathlib import Path
from renoise.files import write_atomically

os.seteuid(12345)
try:
    write_atomically(Path(sys.argv[1]), b"mine")
except PermissionError as error:
    print(error.strerror)
"""


@pytest.mark.skipif(not ROOT, reason="only the superuser can become somebody else")
def test_a_file_that_belongs_to_somebody_else_is_not_replaced() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # All may write to the folder, so that the file could be replaced, but it cannot be opened for writing.
        Path(folder).chmod(0o777)
        target = Path(folder) / "theirs.bin"
        target.write_bytes(b"theirs")
        done = subprocess.run([sys.executable, "-c", STRANGER, str(target)], capture_output=True, text=True)
        assert (done.stdout, target.read_bytes()) == ("it is read-only\n", b"theirs")
        target.chmod(0o666)
        done = subprocess.run([sys.executable, "-c", STRANGER, str(target)], capture_output=True, text=True)
        assert (done.stdout, target.read_bytes()) == ("", b"mine")
        # As in /tmp: everybody may write to the file, and nobody but its owner may move another into its place.
        Path(folder).chmod(0o1777)
        os.chown(target, 0, 0)
        done = subprocess.run([sys.executable, "-c", STRANGER, str(target)], capture_output=True, text=True)
        assert (done.stdout, target.read_bytes()) == (
            "it is another user's, in a folder where only its owner may replace it\n",
            b"mine",
        )


KILLED = """
import os, signal, sys
from pathlib import Path
from renoise.files import write_atomically

def end(*args):
    os.kill(os.getpid(), signal.{signal})

os.fsync = end
write_atomically(Path(sys.argv[1]), b"half")
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, name: str) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"before")
    killed = subprocess.run([sys.executable, "-c", KILLED.format(signal=name), str(target)])
    assert killed.returncode == -getattr(signal, name)
    (left,) = (p for p in tmp_path.iterdir() if p != target)
    assert left.name.startswith(".renoise-")
    assert target.read_bytes() == b"before"
    write_atomically(tmp_path / "b.bin", b"after")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "b.bin"]


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_what_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    waiting = KILLED.replace("os.kill(os.getpid(), signal.{signal})", "print('ready', flush=True); input()")
    with subprocess.Popen(
        [sys.executable, "-c", waiting, str(tmp_path / "a.bin")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        write_atomically(tmp_path / "b.bin", b"after")
        child.communicate("\n")
    assert child.returncode == 0
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a.bin": b"half", "b.bin": b"after"}


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_only_our_own_leftovers_are_removed(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"kept")
    (tmp_path / ".renoise-link.part").symlink_to("kept")
    (tmp_path / ".renoise-folder.part").mkdir()
    os.mkfifo(tmp_path / ".renoise-pipe.part")
    (tmp_path / "movie.mp4.part").write_bytes(b"download")
    names = {p.name for p in tmp_path.iterdir()}
    write_atomically(tmp_path / "a.bin", b"data")
    assert {p.name for p in tmp_path.iterdir()} == {*names, "a.bin"}


FULL = """
import resource, sys
from pathlib import Path
from renoise.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_atomically(Path(sys.argv[1]), bytes(10_000_000))
except OSError as error:
    print("failed:", error.strerror)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_disk_that_is_full_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"before")
    done = subprocess.run([sys.executable, "-c", FULL, str(target)], capture_output=True, text=True)
    assert done.stdout == "failed: File too large\n"
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a.bin": b"before"}


@pytest.mark.parametrize("path", ["a/b.png", Path("a/b.png")])
def test_a_path_is_text_or_a_path(path: str | Path) -> None:
    assert as_path(path, StorageError) == Path("a/b.png")


@pytest.mark.parametrize("path", [None, 3, b"a.png", ["a"], Path])
def test_other_things_are_no_paths(path: object) -> None:
    with pytest.raises(StorageError, match=r"a path must be a string or a pathlib\.Path, not "):
        as_path(path, StorageError)
