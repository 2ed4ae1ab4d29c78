# SPDX-License-Identifier: MIT
"""Names: making, linking and removing every kind of object, and the errors in between."""

import errno
import os
import stat

import pytest

import syscalls

pytestmark = pytest.mark.asan


def fails(code, function, *args, **more):
    with pytest.raises(OSError) as caught:
        function(*args, **more)
    assert caught.value.errno == code, f"{caught.value}, not {errno.errorcode[code]}"


def test_create_is_exclusive_with_o_excl(work):
    path = work / "f"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    fails(errno.EEXIST, os.open, path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    fails(errno.ENOENT, os.open, work / "g", os.O_RDONLY)
    assert os.listdir(work) == ["f"]


def test_umask_applies(work):
    old = os.umask(0o027)
    try:
        os.close(os.open(work / "f", os.O_CREAT | os.O_WRONLY, 0o777))
        os.mkdir(work / "d", 0o777)
        os.mkfifo(work / "p", 0o666)
    finally:
        os.umask(old)
    modes = {name: stat.S_IMODE((work / name).stat().st_mode) for name in ("f", "d", "p")}
    assert modes == {"f": 0o750, "d": 0o750, "p": 0o640}


def test_directories_count_their_subdirectories_and_must_be_empty_to_go(work):
    os.makedirs(work / "a" / "b" / "c")
    assert (work / "a").stat().st_nlink in (1, 3)
    fails(errno.ENOTEMPTY, os.rmdir, work / "a")
    fails(errno.EEXIST, os.mkdir, work / "a")
    os.rmdir(work / "a" / "b" / "c")
    os.rmdir(work / "a" / "b")
    os.rmdir(work / "a")
    assert os.listdir(work) == []
    fails(errno.ENOENT, os.rmdir, work / "a")


def test_wrong_kind(work):
    (work / "f").write_text("x")
    (work / "d").mkdir()
    fails(errno.ENOTDIR, os.rmdir, work / "f")
    fails(errno.EISDIR, os.unlink, work / "d")
    fails(errno.ENOTDIR, os.open, work / "f" / "below", os.O_RDONLY)
    fails(errno.ENOTDIR, os.mkdir, work / "f" / "below")
    fails(errno.EISDIR, os.open, work / "d", os.O_WRONLY)
    fails(errno.ENOTDIR, os.open, work / "f", os.O_RDONLY | os.O_DIRECTORY)


def test_hard_links_are_one_file(work):
    (work / "one").write_bytes(b"first")
    os.link(work / "one", work / "two")
    (work / "sub").mkdir()
    os.link(work / "two", work / "sub" / "three")
    stats = [os.stat(p) for p in (work / "one", work / "two", work / "sub" / "three")]
    assert len({st.st_ino for st in stats}) == 1 and {st.st_nlink for st in stats} == {3}
    with open(work / "sub" / "three", "ab") as file:
        file.write(b" more")
    assert (work / "one").read_bytes() == b"first more"
    os.unlink(work / "one")
    assert os.stat(work / "two").st_nlink == 2
    assert (work / "two").read_bytes() == b"first more"
    fails(errno.EPERM, os.link, work / "sub", work / "dirlink")
    fails(errno.EEXIST, os.link, work / "two", work / "sub" / "three")


def test_hard_links_survive_destage_and_remount(work, settle):
    (work / "one").write_bytes(b"content" * 1000)
    os.link(work / "one", work / "two")
    settle()
    assert os.stat(work / "one").st_ino == os.stat(work / "two").st_ino
    assert os.stat(work / "one").st_nlink == 2
    os.unlink(work / "one")
    settle()
    assert os.stat(work / "two").st_nlink == 1
    assert (work / "two").read_bytes() == b"content" * 1000


@pytest.mark.parametrize("length", [1, 59, 60, 255, 1024, 4095])
def test_symlinks_of_any_length(work, settle, length):
    target = ("t/" * 4096)[:length - 1] + "x"
    os.symlink(target, work / "link")
    settle()
    assert os.readlink(work / "link") == target
    assert os.lstat(work / "link").st_size == length
    assert stat.S_ISLNK(os.lstat(work / "link").st_mode)


def test_symlinks_are_followed(work):
    (work / "d").mkdir()
    (work / "d" / "f").write_text("through")
    os.symlink("d", work / "to-dir")
    os.symlink("to-dir/f", work / "to-file")
    os.symlink("nowhere", work / "dangling")
    os.symlink("loop", work / "loop")
    assert (work / "to-file").read_text() == "through"
    assert os.listdir(work / "to-dir") == ["f"]
    fails(errno.ENOENT, os.open, work / "dangling", os.O_RDONLY)
    fails(errno.ELOOP, os.open, work / "loop", os.O_RDONLY)
    fails(errno.ELOOP, os.open, work / "to-file", os.O_RDONLY | os.O_NOFOLLOW)
    os.close(os.open(work / "dangling", os.O_WRONLY | os.O_CREAT))
    assert (work / "nowhere").exists()
    fails(errno.EEXIST, os.symlink, "x", work / "to-dir")


@pytest.mark.parametrize("kind, device", [
    (stat.S_IFIFO, 0), (stat.S_IFSOCK, 0), (stat.S_IFCHR, os.makedev(1, 3)),
    (stat.S_IFBLK, os.makedev(259, 1048575)), (stat.S_IFREG, 0)])
def test_special_files(work, settle, kind, device):
    os.mknod(work / "node", kind | 0o620, device)
    settle()
    st = os.lstat(work / "node")
    assert stat.S_IFMT(st.st_mode) == kind and stat.S_IMODE(st.st_mode) == 0o600 | 0o620 & ~0o022
    assert st.st_rdev == device
    os.unlink(work / "node")
    assert not os.path.lexists(work / "node")


def test_character_device_works(work):
    os.mknod(work / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    with open(work / "zero", "rb", buffering=0) as file:
        assert file.read(5) == bytes(5)


def test_fifo_carries_data(work):
    os.mkfifo(work / "pipe")
    reader = os.open(work / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(work / "pipe", os.O_WRONLY)
    os.write(writer, b"through the pipe")
    assert os.read(reader, 100) == b"through the pipe"
    os.close(reader)
    os.close(writer)


def test_unix_socket(work):
    import socket
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        here = os.open(work, os.O_PATH)
        server.bind(f"/proc/self/fd/{here}/s")
        server.listen()
        client.connect(f"/proc/self/fd/{here}/s")
        peer, _ = server.accept()
        client.send(b"hello")
        assert peer.recv(10) == b"hello"
        peer.close()
        os.close(here)
    assert stat.S_ISSOCK(os.lstat(work / "s").st_mode)


NAMES = [b"x" * 255, "ü".encode() * 127, bytes(range(1, 47)), bytes(range(48, 256)), b" ", b"...",
         b"\xff\xfe\x80", b"new\nline", "e\u0301".encode(), "\u00e9".encode(), b"-rf", b"*"]


def test_any_bytes_make_a_name(work, settle):
    base = os.fsencode(work)
    for number, name in enumerate(NAMES):
        with open(base + b"/" + name, "wb") as file:
            file.write(b"%d" % number)
    settle()
    assert sorted(os.listdir(base)) == sorted(NAMES)
    for number, name in enumerate(NAMES):
        with open(base + b"/" + name, "rb") as file:
            assert file.read() == b"%d" % number


def test_names_too_long(work):
    for function in (os.mkdir, os.mkfifo, os.unlink, os.stat, os.rmdir):
        fails(errno.ENAMETOOLONG, function, work / ("x" * 256))
    fails(errno.ENAMETOOLONG, os.symlink, "t", work / ("x" * 256))
    fails(errno.ENAMETOOLONG, os.rename, work, work.parent / ("x" * 256))


def test_deep_directories(work):
    depth = 400
    here = os.open(work, os.O_RDONLY)
    for level in range(depth):
        os.mkdir(f"level{level}", dir_fd=here)
        below = os.open(f"level{level}", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    fd = os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(fd, b"deep")
    os.close(fd)
    os.close(here)
    bottom = [p for p, _, files in os.walk(work) if "bottom" in files]
    assert len(bottom) == 1 and bottom[0].count("level") == depth


def test_dot_dot_leads_back(work):
    os.makedirs(work / "a" / "b")
    assert os.stat(work / "a" / "b" / "..").st_ino == os.stat(work / "a").st_ino
    os.rename(work / "a" / "b", work / "b")
    assert os.stat(work / "b" / "..").st_ino == os.stat(work).st_ino


def test_removed_directory_refuses_new_names(work):
    os.mkdir(work / "gone")
    here = os.open(work / "gone", os.O_RDONLY)
    os.rmdir(work / "gone")
    fails(errno.ENOENT, os.open, "f", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    fails(errno.ENOENT, os.mkdir, "d", dir_fd=here)
    assert os.fstat(here).st_nlink == 0
    assert os.listdir(here) == []
    os.close(here)


def test_unlinked_open_file_lives_on(work, settle):
    path = work / "f"
    path.write_bytes(b"before" * 50000)
    settle()
    with open(path, "r+b", buffering=0) as file:
        os.unlink(path)
        assert not path.exists()
        assert os.fstat(file.fileno()).st_nlink == 0
        assert file.read() == b"before" * 50000
        file.seek(3)
        file.write(b"AFTER")
        assert os.pread(file.fileno(), 12, 0) == b"befAFTERfore"
        file.truncate(4)
        assert os.fstat(file.fileno()).st_size == 4
        path.write_bytes(b"another file")
        assert os.pread(file.fileno(), 10, 0) == b"befA"
    assert path.read_bytes() == b"another file"


def test_inode_numbers_are_stable(work, settle):
    for name in ("a", "b", "c"):
        (work / name).write_text(name)
    (work / "d").mkdir()
    before = {name: os.lstat(work / name).st_ino for name in os.listdir(work)}
    assert len(set(before.values())) == 4
    settle()
    assert {name: os.lstat(work / name).st_ino for name in os.listdir(work)} == before
    assert {entry.name: entry.inode() for entry in os.scandir(work)} == before


def test_o_tmpfile_gets_a_name_later(work, settle):
    fd = os.open(work, syscalls.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"nameless")
    assert os.listdir(work) == [] and os.fstat(fd).st_nlink == 0
    syscalls.link_fd(fd, work / "named")
    assert os.fstat(fd).st_nlink == 1
    os.close(fd)
    settle()
    assert (work / "named").read_bytes() == b"nameless"
    assert stat.S_IMODE((work / "named").stat().st_mode) == 0o600


def test_o_tmpfile_excl_never_gets_a_name(work):
    fd = os.open(work, syscalls.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    os.write(fd, b"nameless")
    fails(errno.ENOENT, syscalls.link_fd, fd, work / "named")
    assert os.pread(fd, 100, 0) == b"nameless"
    os.close(fd)
    assert os.listdir(work) == []
