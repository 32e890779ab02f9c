"""The folder of a program is removed, whatever is in it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import anyio
import pytest

from sprint_agent.executors.python import folder
from sprint_agent.executors.python.folder import remove, temporary_folder

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="the executor is for POSIX"),
]


def make_deep(root: Path, depth: int) -> None:
    opened = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=opened)
        inner = os.open("d", os.O_RDONLY, dir_fd=opened)
        os.close(opened)
        opened = inner
    os.close(opened)


def test_a_folder_that_is_deeper_than_the_stack(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    make_deep(root, 1200)
    remove(root)
    assert not root.exists()


def test_locked_folders(tmp_path: Path) -> None:
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/a/b/file").touch()
    for name in ("root/a/b", "root/a", "root"):
        (tmp_path / name).chmod(0)
    remove(tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "file").touch()
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "link").symlink_to(outside)
    (root / "inner/link").symlink_to(outside)
    (root / "broken").symlink_to("nowhere")
    remove(root)
    assert not root.exists()
    assert (outside / "file").exists()
    assert outside.stat().st_mode & 0o777 == 0o755


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").touch()
    (tmp_path / "root").symlink_to(tmp_path / "outside")
    remove(tmp_path / "root")
    assert (tmp_path / "outside/file").exists()


async def test_a_removal_that_takes_long_goes_on_behind_the_execution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on, done = threading.Event(), threading.Event()
    removed = folder.remove

    def slow(root: Path) -> None:
        go_on.wait(60)
        removed(root)
        done.set()

    monkeypatch.setattr(folder, "remove", slow)
    monkeypatch.setattr(folder, "_REMOVAL_SECONDS", 0.01)
    with anyio.fail_after(30):
        async with temporary_folder() as root:
            pass
        assert root.exists()
        go_on.set()
        await anyio.to_thread.run_sync(done.wait)
    assert not root.exists()
