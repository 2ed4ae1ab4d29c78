# SPDX-License-Identifier: MIT
"""What ordinary users may and may not do."""

import errno
import os
import stat
import struct

import pytest

import env
import people
from people import ALICE, BOB, as_user

pytestmark = pytest.mark.asan

STAFF = 13000


def mode_of(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def denied(code, function, *args):
    with pytest.raises(OSError) as caught:
        function(*args)
    assert caught.value.errno == code, f"{caught.value}, not {errno.errorcode[code]}"


@pytest.fixture
def open_work(work):
    work.chmod(0o777)
    return work


def test_new_objects_belong_to_their_maker(open_work, settle):
    def make():
        (open_work / "f").write_text("x")
        os.mkdir(open_work / "d")
        os.symlink("t", open_work / "l")
        os.mkfifo(open_work / "p")
    as_user(ALICE, make)
    settle()
    for name in "fdlp":
        st = os.lstat(open_work / name)
        assert (st.st_uid, st.st_gid) == ALICE, name


@pytest.mark.parametrize("who, bits", [("owner", 0o700), ("group", 0o070), ("others", 0o007)])
def test_classes(open_work, who, bits):
    path = open_work / "f"
    path.write_text("x")
    os.chown(path, *ALICE)
    person = {"owner": ALICE, "group": (12009, ALICE[1]), "others": BOB}[who]
    for flags, bit in ((os.O_RDONLY, 4), (os.O_WRONLY, 2), (os.O_RDWR, 6)):
        def attempt():
            os.close(os.open(path, flags))
        for granted in range(8):
            os.chmod(path, bits & (granted * 0o111))
            if granted & bit == bit:
                as_user(person, attempt)
            else:
                denied(errno.EACCES, as_user, person, attempt)


def test_supplementary_groups(open_work):
    path = open_work / "f"
    path.write_text("x")
    os.chown(path, 0, STAFF)
    os.chmod(path, 0o040)
    denied(errno.EACCES, as_user, ALICE, path.read_text)
    assert as_user(ALICE, path.read_text, groups=[5, STAFF]) == "x"


def test_directory_search_and_list(open_work):
    inner = open_work / "d"
    inner.mkdir()
    (inner / "f").write_text("x")
    for mode, may_list, may_enter in ((0o755, 1, 1), (0o744, 1, 0), (0o711, 0, 1), (0o700, 0, 0)):
        inner.chmod(mode)
        for may, function, args in ((may_list, os.listdir, (inner,)),
                                    (may_enter, (inner / "f").read_text, ())):
            if may:
                as_user(BOB, function, *args)
            else:
                denied(errno.EACCES, as_user, BOB, function, *args)


def test_removing_needs_write_permission_on_the_directory(open_work):
    inner = open_work / "d"
    inner.mkdir()
    (inner / "f").write_text("x")
    (inner / "f").chmod(0o666)
    denied(errno.EACCES, as_user, BOB, os.unlink, inner / "f")
    denied(errno.EACCES, as_user, BOB, os.mkdir, inner / "new")
    inner.chmod(0o777)
    as_user(BOB, os.unlink, inner / "f")
    assert os.listdir(inner) == []


def test_sticky_protects_entries_of_others(open_work):
    open_work.chmod(0o1777)
    as_user(ALICE, (open_work / "alices").write_text, "a")
    as_user(ALICE, os.mkdir, open_work / "alicesdir")
    denied(errno.EPERM, as_user, BOB, os.unlink, open_work / "alices")
    denied(errno.EPERM, as_user, BOB, os.rmdir, open_work / "alicesdir")
    as_user(ALICE, os.unlink, open_work / "alices")
    as_user(ALICE, os.rmdir, open_work / "alicesdir")
    assert os.listdir(open_work) == []


def test_setgid_directory_hands_down_its_group(open_work, settle):
    shared = open_work / "shared"
    shared.mkdir()
    os.chown(shared, 0, STAFF)
    shared.chmod(0o2777)
    settle()

    def make():
        (shared / "f").write_text("x")
        os.mkdir(shared / "sub")
        os.mkfifo(shared / "p")
        os.symlink("x", shared / "l")
    as_user(ALICE, make)
    for name in ("f", "sub", "p", "l"):
        assert os.lstat(shared / name).st_gid == STAFF, name
    assert mode_of(shared / "sub") & stat.S_ISGID
    assert not mode_of(shared / "f") & stat.S_ISGID


def test_setgid_on_a_file_made_by_a_stranger_to_the_group(open_work):
    """In a setgid directory, a file with g+xs made by a non-member does not get the bit."""
    shared = open_work / "shared"
    shared.mkdir()
    os.chown(shared, 0, STAFF)
    shared.chmod(0o2777)

    def make():
        os.close(os.open(shared / "f", os.O_CREAT | os.O_WRONLY, 0o2775))
    as_user(ALICE, make, umask=0)
    assert mode_of(shared / "f") == 0o775
    os.unlink(shared / "f")
    as_user(ALICE, make, umask=0, groups=[STAFF])
    assert mode_of(shared / "f") == 0o2775


def test_chmod_and_utimes_are_the_owners(open_work):
    path = open_work / "f"
    as_user(ALICE, path.write_text, "x")
    path.chmod(0o666)
    denied(errno.EPERM, as_user, BOB, os.chmod, path, 0o600)
    denied(errno.EPERM, as_user, BOB, lambda: os.utime(path, (1, 1)))
    as_user(BOB, os.utime, path)           # "now" is for every writer
    as_user(ALICE, os.chmod, path, 0o640)
    as_user(ALICE, lambda: os.utime(path, (5, 5)))
    assert mode_of(path) == 0o640 and os.stat(path).st_mtime == 5


def test_chown_rules(open_work):
    path = open_work / "f"
    as_user(ALICE, path.write_text, "x")
    denied(errno.EPERM, as_user, ALICE, os.chown, path, BOB[0], -1)
    denied(errno.EPERM, as_user, ALICE, os.chown, path, -1, STAFF)
    denied(errno.EPERM, as_user, BOB, os.chown, path, -1, BOB[1])
    as_user(ALICE, os.chown, path, -1, STAFF, groups=[STAFF])
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (ALICE[0], STAFF)


def test_chown_to_nobody_else_leaves_a_directory_alone(open_work):
    path = open_work / "d"
    path.mkdir()
    os.chmod(path, 0o2775)
    os.chown(path, -1, -1)
    assert mode_of(path) == 0o2775


def test_chown_to_nobody_else_by_a_stranger_takes_no_setuid(open_work):
    path = open_work / "f"
    path.write_text("x")
    os.chmod(path, 0o6755)
    denied(errno.EPERM, as_user, BOB, os.chown, path, -1, -1)
    assert mode_of(path) == 0o6755
    os.chown(path, *ALICE)
    os.chmod(path, 0o6755)
    as_user(ALICE, os.chown, path, -1, -1)
    assert mode_of(path) == 0o755


def test_chown_clears_setuid(open_work):
    path = open_work / "f"
    as_user(ALICE, path.write_text, "x")
    path.chmod(0o6775)
    as_user(ALICE, os.chown, path, -1, STAFF, groups=[STAFF])
    assert mode_of(path) == 0o775
    path.chmod(0o6775)
    os.chown(path, *BOB)
    assert mode_of(path) == 0o775, "root's chown clears them on Linux too"


def test_chmod_by_a_stranger_to_the_group_drops_setgid(open_work):
    path = open_work / "f"
    as_user(ALICE, path.write_text, "x")
    os.chown(path, ALICE[0], STAFF)
    as_user(ALICE, os.chmod, path, 0o2755)
    assert mode_of(path) == 0o755
    as_user(ALICE, os.chmod, path, 0o2755, groups=[STAFF])
    assert mode_of(path) == 0o2755


WAYS = {
    "write": lambda fd: os.write(fd, b"y"),
    "truncate": lambda fd: os.ftruncate(fd, 1),
    "grow": lambda fd: os.ftruncate(fd, 100_000),
    "pwritev": lambda fd: os.pwritev(fd, [b"y"], 0),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("before, after", [
    (0o6777, 0o777), (0o2777, 0o777), (0o4777, 0o777), (0o2767, 0o767)])
def test_suid_and_sgid_go_when_a_stranger_writes(open_work, settle, way, before, after):
    path = open_work / "f"
    path.write_text("x" * 5000)
    settle()
    path.chmod(before)

    def change():
        fd = os.open(path, os.O_RDWR)
        WAYS[way](fd)
        os.close(fd)
    as_user(BOB, change)
    assert mode_of(path) == after


def test_the_mode_alone_is_fresh_after_a_stranger_wrote(open_work):
    """stat(1) asks for the mode only, which the kernel thinks it knows."""
    path = open_work / "f"
    path.write_bytes(b"x")
    os.chown(path, *ALICE)
    path.chmod(0o6777)
    assert env.run("stat", "-c", "%A", path).stdout.strip() == "-rwsrwsrwx"
    as_user(BOB, lambda: path.write_bytes(b"y") and None)
    assert env.run("stat", "-c", "%A", path).stdout.strip() == "-rwxrwxrwx"


def test_suid_stays_when_root_writes(open_work, settle):
    path = open_work / "f"
    path.write_text("x" * 5000)
    settle()
    path.chmod(0o6755)
    with open(path, "r+b", buffering=0) as file:
        file.write(b"y")
    assert mode_of(path) == 0o6755


def capable(path):
    os.setxattr(path, "security.capability", struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0))


def test_capabilities_go_with_a_write(open_work, settle):
    path = open_work / "f"
    path.write_text("x" * 5000)
    settle()
    path.chmod(0o777)
    capable(path)
    as_user(BOB, path.write_text, "changed")
    assert "security.capability" not in os.listxattr(path)


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_TRUNC])
def test_capabilities_go_when_root_writes_too(open_work, settle, flags):
    """And come back when they are given anew, whatever of the file the kernel has yet to write."""
    path = open_work / "f"
    path.write_text("x" * 5000)
    settle()
    capable(path)
    fd = os.open(path, flags)
    os.write(fd, b"changed")
    assert "security.capability" not in os.listxattr(path)
    capable(path)
    os.fsync(fd)
    os.close(fd)
    settle()
    assert "security.capability" in os.listxattr(path)


def test_a_setuid_program_runs_as_its_owner(open_work):
    """Mounted by root, so suid means something, as on any other filesystem."""
    import shutil
    import subprocess
    tool = open_work / "id"
    shutil.copy(shutil.which("id"), tool)
    os.chown(tool, *ALICE)
    tool.chmod(0o4755)

    def who():
        return subprocess.run([tool, "-u"], capture_output=True, text=True).stdout.strip()
    mounted_nosuid = os.statvfs(open_work).f_flag & os.ST_NOSUID
    assert as_user(BOB, who) == str(BOB[0] if mounted_nosuid else ALICE[0])
    assert not mounted_nosuid or os.statvfs("/tmp").f_flag & os.ST_NOSUID


def test_access_follows_the_real_user(open_work):
    path = open_work / "f"
    path.write_text("x")
    path.chmod(0o740)
    os.chown(path, *ALICE)

    def rights():
        return [os.access(path, how) for how in (os.R_OK, os.W_OK, os.X_OK, os.F_OK)]
    assert as_user(ALICE, rights) == [True, True, True, True]
    assert people.in_child(rights, uid=12009, gid=ALICE[1]) == [True, False, False, True]
    assert as_user(BOB, rights) == [False, False, False, True]
    path.chmod(0o600)
    assert rights() == [True, True, False, True], "root executes nothing that nobody may execute"


def test_root_ignores_modes(open_work):
    path = open_work / "f"
    as_user(ALICE, path.write_text, "x")
    path.chmod(0)
    assert path.read_text() == "x"
    path.write_text("y")
    assert mode_of(path) == 0


def test_a_descriptor_outlives_the_permission(open_work, settle):
    path = open_work / "f"
    as_user(ALICE, path.write_text, "x" * 1000)
    settle()

    def hold():
        fd = os.open(path, os.O_RDWR)
        os.chmod(path, 0)
        os.pwrite(fd, b"still", 0)
        return os.pread(fd, 10, 0)
    assert as_user(ALICE, hold) == b"still" + b"x" * 5
    denied(errno.EACCES, as_user, ALICE, path.read_text)


def test_creating_read_only_files_for_writing(open_work):
    """open(O_CREAT|O_RDWR, 0400): the maker's descriptor writes, later opens do not (git, tar)."""
    path = open_work / "f"

    def make():
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o400)
        os.write(fd, b"x" * 200_000)
        os.fsync(fd)
        os.close(fd)
    as_user(ALICE, make)
    assert as_user(ALICE, path.read_bytes) == b"x" * 200_000
    denied(errno.EACCES, as_user, ALICE, lambda: os.close(os.open(path, os.O_WRONLY)))
