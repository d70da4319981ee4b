"""Files are written whole, and whatever a name stands for besides a plain file survives: links, pipes, devices."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mnistlab import paths

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and modes are other things there")


def write(path: Path, text: str) -> None:
    with paths.written_whole(path) as part:
        part.write_text(text)


@pytest.mark.parametrize("links", [1, 2])
def test_a_link_stays_and_its_target_is_replaced(tmp_path, links):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to("far/target.txt")
    for _ in range(links - 1):
        link, before = tmp_path / "another.txt", link
        link.symlink_to(before)
    write(link, "new")
    assert link.is_symlink() and target.read_text() == "new" and not target.is_symlink()
    assert os.listdir(target.parent) == ["target.txt"]


def test_a_link_to_nothing_yet_gets_its_target(tmp_path):
    (tmp_path / "link.txt").symlink_to(tmp_path / "later" / "target.txt")
    write(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "later" / "target.txt").read_text() == "new"


def test_a_circle_of_links_is_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="leads back to itself"):
        write(tmp_path / "a", "new")
    assert (tmp_path / "a").is_symlink() and (tmp_path / "b").is_symlink()


def test_a_pipe_hears_it_and_stays_a_pipe(tmp_path):
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()), daemon=True)
    reader.start()
    write(pipe, "new" * 100_000)  # more than a pipe holds at once
    reader.join(timeout=20)
    assert heard == ["new" * 100_000] and stat.S_ISFIFO(pipe.stat().st_mode) and os.listdir(tmp_path) == ["pipe"]


def test_nothing_reaches_a_pipe_when_the_writer_fails(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # with no reader: opening it would wait for ever

    def fail_half_way():
        with paths.written_whole(pipe) as part:
            part.write_text("ha")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_devices_stay_devices(tmp_path):
    before = os.stat("/dev/null")
    write(Path("/dev/null"), "new")
    assert os.path.samestat(before, os.stat("/dev/null")) and stat.S_ISCHR(os.stat("/dev/null").st_mode)
    if Path("/dev/full").exists():
        with pytest.raises(OSError, match="No space left") as caught:
            write(Path("/dev/full"), "new")
        assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("into", ["pipe", "file"])
@pytest.mark.parametrize("name", ["/dev/stdout", "link"])
def test_stdout_by_its_name(tmp_path, into, name):
    """Also where the shell has sent it to a file, which stays the one that the shell opened."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    code = f"""
from mnistlab import paths
print("before", flush=True)
with paths.written_whole({name!r}) as part:
    part.write_text("table\\n")
"""
    with (tmp_path / "out.txt").open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE if into == "pipe" else file,
            cwd=tmp_path,
            check=True,
            env=os.environ | {"PYTHONPATH": str(Path(paths.__file__).parents[1])},
        )
    said = done.stdout if into == "pipe" else (tmp_path / "out.txt").read_bytes()
    assert said == b"before\ntable\n" and (tmp_path / "link").is_symlink()


def test_a_folder_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "some").mkdir()
    (tmp_path / "link").symlink_to("some")
    for folder in ("some", "link"):
        with pytest.raises(IsADirectoryError, match=rf"{folder} is a folder; name a file in it\.$"):
            paths.need_file(tmp_path / folder)
        with pytest.raises(IsADirectoryError), paths.written_whole(tmp_path / folder):
            pytest.fail("the writer was asked for its work")
    assert sorted(os.listdir(tmp_path)) == ["link", "some"] and not os.listdir(tmp_path / "some")


def test_a_private_file_stays_private(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("old")
    file.chmod(0o600)
    write(file, "new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and file.read_text() == "new"
