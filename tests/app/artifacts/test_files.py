from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.artifacts.files import PARTIAL, checksums, open_output, remove_partial_files, replaced
from data.errors import UserError


def write(path: Path, content: bytes = b"new\n") -> None:
    """Write through `open_output`."""
    with open_output(path) as file:
        file.write(content)


def test_a_file_is_replaced_when_it_is_complete(tmp_path: Path) -> None:
    """Until the end the old content is there; after an error it stays, and nothing else is left."""
    path = tmp_path / "out"
    path.write_text("old")

    def fail() -> None:
        with open_output(path) as file:
            file.write(b"half")
            assert path.read_text() == "old"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    write(path)

    assert path.read_text() == "new\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_the_mode_is_kept(tmp_path: Path, mode: int) -> None:
    """A replaced file keeps its mode."""
    path = tmp_path / "out"
    path.touch()
    path.chmod(mode)

    write(path)

    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file(tmp_path: Path) -> None:
    """A new file has the mode of any other new file."""
    (tmp_path / "other").touch()

    write(tmp_path / "out")

    assert (tmp_path / "out").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_is_followed(tmp_path: Path, exists: bool) -> None:
    """The target is written, and the link stays; the target need not exist."""
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder/target", tmp_path / "link"
    if exists:
        target.write_text("old")
    link.symlink_to("folder/target")

    write(link)

    assert link.is_symlink()
    assert target.read_text() == "new\n"
    assert list((tmp_path / "folder").iterdir()) == [target]


def test_a_circle_of_links(tmp_path: Path) -> None:
    """It is refused."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    with pytest.raises(UserError, match="cannot be written: Too many levels of symbolic links"):
        write(tmp_path / "a")


def test_a_pipe(tmp_path: Path) -> None:
    """A named pipe is written as such."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()

    write(pipe)
    reader.join(timeout=10)

    assert found == [b"new\n"]
    assert pipe.is_fifo()


def test_a_device() -> None:
    """A device stays one."""
    write(Path("/dev/null"))

    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output(tmp_path: Path, name: str) -> None:
    """The open descriptor is written where it is, also if it is a file that others have written to."""
    code = (
        "import sys; from pathlib import Path; from app.artifacts.files import open_output\n"
        "print('before', flush=True)\n"
        f"with open_output(Path({name!r})) as file: file.write(b'output\\n')\n"
        "print('after')"
    )
    with (tmp_path / "out").open("wb") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)

    assert (tmp_path / "out").read_text() == "before\noutput\nafter\n"


def test_a_directory(tmp_path: Path) -> None:
    """A directory is refused."""
    with pytest.raises(UserError, match=f"--output {tmp_path}: cannot be written: Is a directory"):
        write(tmp_path)


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    """It is refused in one line."""
    with pytest.raises(UserError, match="cannot be written: No such file or directory"):
        write(tmp_path / "missing/out")


def test_partial_files(tmp_path: Path) -> None:
    """Only files with the prefix are taken for those of a killed process."""
    with replaced(tmp_path / "model.keras") as partial:
        assert partial.name.startswith(PARTIAL)
        assert partial.suffix == ".keras"
        partial.touch()
    (tmp_path / f"{PARTIAL}12345678-state.npz").touch()
    (tmp_path / f"{PARTIAL}folder").mkdir()
    for name in (".state.4242.npz", ".git", "notes"):
        (tmp_path / name).touch()

    remove_partial_files(tmp_path)

    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"model.keras", f"{PARTIAL}folder", ".state.4242.npz", ".git", "notes"}


def test_checksums(tmp_path: Path) -> None:
    """Those of all files but the manifest, or of the files that are named."""
    (tmp_path / "folder").mkdir()
    for name in ("manifest.json", "a", "folder/b"):
        (tmp_path / name).write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    assert checksums(tmp_path) == {"a": empty, "folder/b": empty}
    assert checksums(tmp_path, ["a"]) == {"a": empty}
