# SPDX-License-Identifier: MIT
"""rename(2) and its flags, over everything that can stand in the way."""

import errno
import os

import pytest

import people
from pattern import noise
from syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, renameat2

pytestmark = pytest.mark.asan


def fails(code, function, *args):
    with pytest.raises(OSError) as caught:
        function(*args)
    assert caught.value.errno == code, f"{caught.value}, not {errno.errorcode[code]}"


def test_plain(work, settle):
    (work / "a").write_text("content")
    (work / "d").mkdir()
    os.rename(work / "a", work / "d" / "b")
    settle()
    assert os.listdir(work) == ["d"] and (work / "d" / "b").read_text() == "content"


def test_replaces_a_file(work, settle):
    (work / "old").write_bytes(noise(200_000, 1))
    (work / "new").write_bytes(noise(200_000, 2))
    settle()
    ino = os.stat(work / "new").st_ino
    os.rename(work / "new", work / "old")
    settle()
    assert os.listdir(work) == ["old"]
    assert (work / "old").read_bytes() == noise(200_000, 2)
    assert os.stat(work / "old").st_ino == ino


def test_over_an_open_file(work, settle):
    (work / "old").write_bytes(noise(200_000, 1))
    settle()
    with open(work / "old", "r+b", buffering=0) as held:
        (work / "new").write_bytes(b"new")
        os.rename(work / "new", work / "old")
        assert held.read() == noise(200_000, 1)
        os.pwrite(held.fileno(), b"written to the old one", 0)
        assert os.fstat(held.fileno()).st_nlink == 0
        assert (work / "old").read_bytes() == b"new"
    settle()
    assert (work / "old").read_bytes() == b"new"


def test_of_an_open_file(work, settle):
    (work / "a").write_bytes(b"0123456789")
    settle()
    with open(work / "a", "r+b", buffering=0) as held:
        os.rename(work / "a", work / "b")
        os.pwrite(held.fileno(), b"XX", 3)
        assert (work / "b").read_bytes() == b"012XX56789"
        (work / "a").write_bytes(b"another")
        os.pwrite(held.fileno(), b"YY", 0)
    settle()
    assert (work / "b").read_bytes() == b"YY2XX56789"
    assert (work / "a").read_bytes() == b"another"


def test_noreplace(work):
    (work / "a").write_text("a")
    (work / "b").write_text("b")
    fails(errno.EEXIST, renameat2, work / "a", work / "b", RENAME_NOREPLACE)
    assert (work / "a").read_text() == "a" and (work / "b").read_text() == "b"
    renameat2(work / "a", work / "c", RENAME_NOREPLACE)
    assert sorted(os.listdir(work)) == ["b", "c"] and (work / "c").read_text() == "a"


def test_exchange(work, settle):
    (work / "file").write_bytes(noise(150_000))
    (work / "dir" / "sub").mkdir(parents=True)
    (work / "dir" / "inner").write_text("inner")
    settle()
    renameat2(work / "file", work / "dir", RENAME_EXCHANGE)
    settle()
    assert (work / "dir").read_bytes() == noise(150_000)
    assert sorted(os.listdir(work / "file")) == ["inner", "sub"]
    fails(errno.ENOENT, renameat2, work / "file", work / "none", RENAME_EXCHANGE)
    fails(errno.EINVAL, renameat2, work / "file", work / "dir",
          RENAME_EXCHANGE | RENAME_NOREPLACE)


def test_exchange_across_directories_keeps_link_counts_and_dot_dot(work):
    (work / "one" / "d").mkdir(parents=True)
    (work / "two").mkdir()
    (work / "two" / "f").write_text("f")
    before = os.stat(work / "two").st_nlink
    renameat2(work / "one" / "d", work / "two" / "f", RENAME_EXCHANGE)
    assert (work / "one" / "d").read_text() == "f" and (work / "two" / "f").is_dir()
    assert os.stat(work / "two" / "f" / "..").st_ino == os.stat(work / "two").st_ino
    assert os.stat(work / "two").st_nlink in (1, before + 1)
    fails(errno.EINVAL, renameat2, work / "two", work / "two" / "f", RENAME_EXCHANGE)


def test_directories(work, settle):
    (work / "a" / "deep").mkdir(parents=True)
    (work / "empty").mkdir()
    (work / "full").mkdir()
    (work / "full" / "f").touch()
    (work / "file").touch()
    fails(errno.ENOTEMPTY, os.rename, work / "a", work / "full")
    fails(errno.ENOTDIR, os.rename, work / "a", work / "file")
    fails(errno.EISDIR, os.rename, work / "file", work / "a")
    fails(errno.EINVAL, os.rename, work / "a", work / "a" / "deep" / "below")
    fails(errno.ENOTEMPTY, os.rename, work / "a" / "deep", work / "a")
    os.rename(work / "a", work / "empty")
    settle()
    assert sorted(os.listdir(work)) == ["empty", "file", "full"]
    assert os.listdir(work / "empty") == ["deep"]


def test_to_itself_and_to_another_link_of_it(work):
    (work / "a").write_text("x")
    os.link(work / "a", work / "b")
    os.rename(work / "a", work / "a")
    os.rename(work / "a", work / "b")
    assert sorted(os.listdir(work)) == ["a", "b"], "POSIX: renaming to a link of itself does nothing"
    assert os.stat(work / "a").st_nlink == 2


def test_of_symlinks_and_nodes(work):
    os.symlink("target", work / "link")
    os.mkfifo(work / "pipe")
    os.rename(work / "link", work / "link2")
    os.rename(work / "pipe", work / "link2")
    assert os.listdir(work) == ["link2"] and not os.path.islink(work / "link2")


def test_sticky_directory(work):
    sticky = work / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    people.as_user(people.ALICE, (sticky / "alices").write_text, "a")
    people.as_user(people.BOB, (sticky / "bobs").write_text, "b")
    with pytest.raises(PermissionError):
        people.as_user(people.BOB, os.rename, sticky / "alices", sticky / "taken")
    with pytest.raises(PermissionError):
        people.as_user(people.BOB, os.rename, sticky / "bobs", sticky / "alices")
    with pytest.raises(PermissionError):
        people.as_user(people.BOB, renameat2, sticky / "bobs", sticky / "alices", RENAME_EXCHANGE)
    people.as_user(people.BOB, os.rename, sticky / "bobs", sticky / "bobs2")
    assert sorted(os.listdir(sticky)) == ["alices", "bobs2"]
    assert (sticky / "alices").read_text() == "a"


def test_moving_a_directory_needs_write_permission_in_it(work):
    """.. changes: so says POSIX, and so does Linux for directories of others."""
    for name in ("from", "to"):
        (work / name).mkdir()
        os.chown(work / name, *people.ALICE)
    (work / "from" / "d").mkdir()
    with pytest.raises(PermissionError):
        people.as_user(people.ALICE, os.rename, work / "from" / "d", work / "to" / "d")
    os.chown(work / "from" / "d", *people.ALICE)
    people.as_user(people.ALICE, os.rename, work / "from" / "d", work / "to" / "d")
    assert os.listdir(work / "to") == ["d"]


def test_a_chain_of_renames_leaves_one_file(work, settle):
    (work / "f0").write_bytes(noise(10_000))
    for number in range(300):
        os.rename(work / f"f{number}", work / f"f{number + 1}")
        if number % 100 == 50:
            settle()
    assert os.listdir(work) == ["f300"] and (work / "f300").read_bytes() == noise(10_000)


def test_readers_always_find_a_whole_file(work):
    """Replace by rename under a reader: every open gives one complete version."""
    path = work / "f"
    path.write_bytes(b"%06d" % 0 * 1000)
    pid = os.fork()
    if pid == 0:
        for number in range(1, 400):
            (work / "tmp").write_bytes(b"%06d" % number * 1000)
            os.rename(work / "tmp", path)
        os._exit(0)
    last, seen = 0, 0
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        data = path.read_bytes()
        version = int(data[:6])
        assert data == b"%06d" % version * 1000, "a torn file"
        assert version >= last, "an older version came back"
        last, seen = version, seen + 1
    assert path.read_bytes() == b"%06d" % 399 * 1000
    assert seen > 10
