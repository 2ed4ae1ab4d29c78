# SPDX-License-Identifier: MIT
"""Mappings: shared writable ones above all, and those that outlive the descriptor."""

import faulthandler
import os
import resource
import shutil
import signal
import subprocess

import pytest

import env
import people
from mapping import mapped
from pattern import Shadow, noise

pytestmark = pytest.mark.asan

PAGE, SIZE, MIB = 4096, 300_000, 1 << 20


def test_reading(work, settle):
    (work / "f").write_bytes(noise(SIZE))
    settle()
    with mapped(work / "f", os.O_RDONLY, writable=False) as view:
        assert view.read(0, SIZE) == noise(SIZE)
    with mapped(work / "f", os.O_RDONLY, shared=False) as view:
        view.write(10, b"private")
        assert view.read(10, 7) == b"private"
    assert (work / "f").read_bytes() == noise(SIZE)


@pytest.mark.parametrize("sync", [True, False], ids=["msync", "nosync"])
def test_shared_stores_reach_the_file(work, settle, sync):
    shadow = Shadow(noise(SIZE))
    (work / "f").write_bytes(shadow.data)
    settle()
    with mapped(work / "f") as view:
        for at in (0, 5000, 4090, SIZE - 6):
            view.write(at, b"stored")
            shadow.write(at, b"stored")
        assert (work / "f").read_bytes() == shadow.data, "read(2) sees a store at once"
        if sync:
            view.sync()
    assert (work / "f").read_bytes() == shadow.data
    settle()
    assert (work / "f").read_bytes() == shadow.data


def test_writes_show_in_a_mapping(work, settle):
    (work / "f").write_bytes(noise(SIZE))
    settle()
    with mapped(work / "f") as view:
        assert view.read(4096, 10) == noise(SIZE)[4096:4106]
        with open(work / "f", "r+b", buffering=0) as file:
            file.seek(4096)
            file.write(b"by write(2)")
        assert view.read(4096, 11) == b"by write(2)"


def test_stores_show_in_another_process(work, settle):
    (work / "f").write_bytes(noise(SIZE))
    settle()
    with mapped(work / "f") as view:
        def other():
            with mapped(work / "f") as its_view:
                before = its_view.read(0, 4)
                its_view.write(8192, b"from the child")
                return before
        view.write(0, b"1234")
        assert people.in_child(other) == b"1234"
        assert view.read(8192, 14) == b"from the child"


@pytest.mark.parametrize("created", ["before", "with O_RDWR"])
def test_a_mapping_outlives_close_and_destage(work, settle, shared_mount, created):
    """The last close is not the last writer: stores after it, and after a destage, are not lost."""
    shadow = Shadow(noise(SIZE))
    path = work / "f"
    if created == "before":
        path.write_bytes(shadow.data)
        settle()
    else:
        fd = os.open(path, os.O_CREAT | os.O_RDWR)
        os.write(fd, shadow.data)
        os.close(fd)
    view = mapped(path)
    view.write(100, b"after the last close")
    shadow.write(100, b"after the last close")
    others_destage(work, shared_mount)
    assert path.read_bytes() == shadow.data
    view.write(200_000, b"after a destage went by")
    shadow.write(200_000, b"after a destage went by")
    assert path.read_bytes() == shadow.data
    with open(path, "r+b", buffering=0) as file:
        file.seek(50_000)
        file.write(b"beside the mapping")
    shadow.write(50_000, b"beside the mapping")
    assert view.read(50_000, 18) == b"beside the mapping"
    view.write(50_010, b"MAPPING")
    shadow.write(50_010, b"MAPPING")
    view.close()
    assert path.read_bytes() == shadow.data
    settle()
    assert path.read_bytes() == shadow.data


def others_destage(work, mount):
    """Another file goes all the way into packs, so destage has certainly run meanwhile."""
    if mount.reference:
        return
    (work / "other").write_bytes(noise(100_000, 77))
    before = mount.pool.stored_bytes()
    fd = os.open(work / "other", os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    # `sync --destage` may have to wait for the mapped file, so its own end is not awaited here.
    waiting = subprocess.Popen([env.binary("foldfs"), "sync", "--destage", mount.dir],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        env.until(lambda: mount.pool.stored_bytes() > before or waiting.poll() is not None,
                  "the other file is in a pack")
    finally:
        waiting.kill()
        waiting.wait()


def overwrite(path):
    with open(path, "r+b", buffering=0) as file:
        file.write(b"new")


def write_anew(path):
    path.write_bytes(b"new" + noise(SIZE)[3:])


def destage_and_overwrite(path):
    env.run(env.binary("foldfs"), "sync", "--destage", path.parent)
    overwrite(path)


@pytest.mark.foldfs
@pytest.mark.parametrize("change", [overwrite, write_anew, destage_and_overwrite])
def test_a_mapping_to_read_sees_what_is_written_later(new_mount, change):
    """Of a file that was staged when it was mapped, and whose descriptors are all closed."""
    mount = new_mount(destage_delay=600)
    path = mount.dir / "f"
    path.write_bytes(noise(SIZE))
    with mapped(path, os.O_RDONLY, writable=False) as view:
        assert view.read(0, SIZE) == noise(SIZE)
        change(path)
        assert view.read(0, SIZE) == path.read_bytes() == b"new" + noise(SIZE)[3:]

    def stored():       # the kernel does not wait for what it lets go of
        mount.destage()
        return not list((mount.pool.path / "staging").iterdir())

    env.until(stored, "it is in packs")
    assert path.read_bytes() == b"new" + noise(SIZE)[3:]


@pytest.mark.foldfs
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR], ids=["rdonly", "rdwr"])
def test_what_is_mapped_is_not_destaged_behind_its_writer(new_mount, flags):
    """Staging is used up by another mapping, so what lies behind writers is stored while they write."""
    mount = new_mount(staging_limit="48M", destage_delay=600)
    with open(mount.dir / "full", "w+b", buffering=0) as file:
        file.write(noise(50 * MIB))
    writers = [os.open(mount.dir / name, os.O_CREAT | os.O_WRONLY) for name in ("f", "other")]
    for fd in writers:
        os.write(fd, noise(8 * MIB))
    writable = flags == os.O_RDWR
    with mapped(mount.dir / "full"), mapped(mount.dir / "f", flags, writable=writable) as view:
        while mount.stats()["destage"]["bytes"] < 32 * MIB:
            for fd in writers:
                os.write(fd, noise(8 * MIB))
        mount.sync()
        assert view.read(0, 8 * MIB) == noise(8 * MIB)
        assert (mount.dir / "f").read_bytes()[:8 * MIB] == noise(8 * MIB)
    for fd in writers:
        os.close(fd)


def test_a_mapping_survives_unlink(work, settle):
    path = work / "f"
    path.write_bytes(noise(SIZE))
    settle()
    view = mapped(path)
    os.unlink(path)
    view.write(0, b"still here")
    assert view.read(0, 10) == b"still here"
    assert view.read(150_000, 100) == noise(SIZE)[150_000:150_100]
    path.write_bytes(b"another")
    assert view.read(0, 10) == b"still here"
    view.close()
    assert path.read_bytes() == b"another"


def test_a_mapping_survives_replacement_by_rename(work, settle):
    path = work / "f"
    path.write_bytes(noise(SIZE))
    settle()
    view = mapped(path)
    (work / "new").write_bytes(b"replacement")
    os.rename(work / "new", path)
    view.write(7, b"the old file")
    assert view.read(7, 12) == b"the old file"
    view.close()
    assert path.read_bytes() == b"replacement"


def test_truncation_under_a_mapping(work, settle):
    """Pages past the new end raise SIGBUS; grown again they are zeros."""
    path = work / "f"
    path.write_bytes(noise(10 * PAGE))
    settle()
    with mapped(path) as view:
        os.truncate(path, PAGE + 10)
        assert view.read(0, PAGE + 10) == noise(10 * PAGE)[:PAGE + 10]
        assert view.read(PAGE + 10, 20) == bytes(20)
        pid = os.fork()
        if pid == 0:
            faulthandler.disable()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            view.touch(5 * PAGE)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGBUS
        os.truncate(path, 10 * PAGE)
        assert view.read(5 * PAGE, 100) == bytes(100)
    settle()
    assert path.read_bytes() == noise(10 * PAGE)[:PAGE + 10] + bytes(9 * PAGE - 10)


def test_mapping_of_a_file_created_write_only(work, settle):
    """cp then mmap of the copy while the writer is still open."""
    with open(work / "f", "wb", buffering=0) as writer:
        writer.write(noise(SIZE))
        with mapped(work / "f") as view:
            assert view.read(0, SIZE) == noise(SIZE)
            view.write(123, b"mapped")
            writer.write(b"appended")
    settle()
    shadow = Shadow(noise(SIZE) + b"appended")
    shadow.write(123, b"mapped")
    assert (work / "f").read_bytes() == shadow.data


def test_mapping_a_hole(work, settle):
    os.close(os.open(work / "f", os.O_CREAT | os.O_RDWR))
    os.truncate(work / "f", SIZE)
    settle()
    shadow = Shadow(bytes(SIZE))
    with mapped(work / "f") as view:
        assert view.read(0, SIZE) == bytes(SIZE)
        view.write(100_000, b"in the hole")
    shadow.write(100_000, b"in the hole")
    settle()
    assert (work / "f").read_bytes() == shadow.data


def test_running_a_program_from_the_mount(work, settle):
    shutil.copy(shutil.which("true"), work / "true")
    shutil.copy(shutil.which("cat"), work / "cat")
    settle()
    assert subprocess.run([work / "true"]).returncode == 0
    assert subprocess.run([work / "cat"], input=b"through", capture_output=True).stdout == b"through"
