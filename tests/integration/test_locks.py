# SPDX-License-Identifier: MIT
"""flock, POSIX record locks and open-file-description locks, between processes."""

import errno
import fcntl
import os
import signal
import struct
import time

import pytest

import people

pytestmark = pytest.mark.asan

F_OFD_GETLK, F_OFD_SETLK = 36, 37


def flock_struct(kind, start=0, length=0):
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)


def try_flock(path, how):
    """Whether another process gets HOW on PATH."""
    def attempt():
        fd = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
    return people.in_child(attempt)


def try_record(path, kind, start=0, length=0):
    def attempt():
        fd = os.open(path, os.O_RDWR)
        try:
            fcntl.fcntl(fd, fcntl.F_SETLK, flock_struct(kind, start, length))
            return True
        except OSError as exc:
            assert exc.errno in (errno.EAGAIN, errno.EACCES)
            return False
        finally:
            os.close(fd)
    return people.in_child(attempt)


@pytest.fixture
def locked(work, settle):
    path = work / "f"
    path.write_bytes(b"x" * 100_000)
    settle()
    fd = os.open(path, os.O_RDWR)
    yield path, fd
    os.close(fd)


def test_flock_exclusive(locked):
    path, fd = locked
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert not try_flock(path, fcntl.LOCK_EX) and not try_flock(path, fcntl.LOCK_SH)
    fcntl.flock(fd, fcntl.LOCK_SH)
    assert not try_flock(path, fcntl.LOCK_EX) and try_flock(path, fcntl.LOCK_SH)
    fcntl.flock(fd, fcntl.LOCK_UN)
    assert try_flock(path, fcntl.LOCK_EX)


def test_flock_goes_with_the_last_descriptor(locked):
    path, _ = locked
    fd = os.open(path, os.O_RDONLY)
    twin = os.dup(fd)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.close(fd)
    assert not try_flock(path, fcntl.LOCK_EX)
    os.close(twin)
    assert try_flock(path, fcntl.LOCK_EX)


def test_record_locks_by_range(locked):
    path, fd = locked
    fcntl.fcntl(fd, fcntl.F_SETLK, flock_struct(fcntl.F_WRLCK, 100, 50))
    fcntl.fcntl(fd, fcntl.F_SETLK, flock_struct(fcntl.F_RDLCK, 1000, 0))
    assert not try_record(path, fcntl.F_RDLCK, 149, 1)
    assert try_record(path, fcntl.F_WRLCK, 150, 100) and try_record(path, fcntl.F_WRLCK, 0, 100)
    assert try_record(path, fcntl.F_RDLCK, 5000, 1)
    assert not try_record(path, fcntl.F_WRLCK, 1 << 40, 1)
    fcntl.fcntl(fd, fcntl.F_SETLK, flock_struct(fcntl.F_UNLCK, 120, 10))
    assert try_record(path, fcntl.F_WRLCK, 120, 10)
    assert not try_record(path, fcntl.F_WRLCK, 119, 1)


def test_getlk_names_the_holder(locked):
    path, fd = locked
    fcntl.fcntl(fd, fcntl.F_SETLK, flock_struct(fcntl.F_WRLCK, 100, 50))

    def ask():
        other = os.open(path, os.O_RDWR)
        return fcntl.fcntl(other, fcntl.F_GETLK, flock_struct(fcntl.F_RDLCK, 0, 0))
    kind, _, start, length, pid = struct.unpack("hhqqi4x", people.in_child(ask))
    assert (kind, start, length, pid) == (fcntl.F_WRLCK, 100, 50, os.getpid())


def test_closing_any_descriptor_drops_record_locks(locked):
    path, fd = locked
    fcntl.fcntl(fd, fcntl.F_SETLK, flock_struct(fcntl.F_WRLCK))
    os.close(os.open(path, os.O_RDONLY))
    assert try_record(path, fcntl.F_WRLCK)


def test_ofd_locks_belong_to_the_open_file(locked):
    path, fd = locked
    other = os.open(path, os.O_RDWR)
    fcntl.fcntl(fd, F_OFD_SETLK, flock_struct(fcntl.F_WRLCK, 0, 10))
    with pytest.raises(BlockingIOError):
        fcntl.fcntl(other, F_OFD_SETLK, flock_struct(fcntl.F_RDLCK, 5, 1))
    os.close(os.open(path, os.O_RDONLY))
    assert not try_record(path, fcntl.F_WRLCK, 0, 1)
    fcntl.fcntl(fd, F_OFD_SETLK, flock_struct(fcntl.F_UNLCK, 0, 10))
    fcntl.fcntl(other, F_OFD_SETLK, flock_struct(fcntl.F_RDLCK, 5, 1))
    os.close(other)


def test_waiting_ends_when_the_holder_dies(locked):
    """A blocked F_SETLKW and a blocked flock wake up; the daemon serves others meanwhile."""
    path, fd = locked
    reader, writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        mine = os.open(path, os.O_RDWR)
        fcntl.flock(mine, fcntl.LOCK_EX)
        fcntl.fcntl(mine, fcntl.F_SETLK, flock_struct(fcntl.F_WRLCK))
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
    waiters = []
    for wait in (lambda f: fcntl.flock(f, fcntl.LOCK_EX),
                 lambda f: fcntl.fcntl(f, fcntl.F_SETLKW, flock_struct(fcntl.F_WRLCK))):
        pid = os.fork()
        if pid == 0:
            wait(os.open(path, os.O_RDWR))
            os._exit(7)
        waiters.append(pid)
    time.sleep(0.2)
    assert [os.waitpid(pid, os.WNOHANG)[0] for pid in waiters] == [0, 0], "they do wait"
    assert path.read_bytes() == b"x" * 100_000, "and others work"
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    for pid in waiters:
        assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 7
    os.close(reader)
    os.close(writer)


def test_a_waiter_can_be_interrupted(locked):
    path, fd = locked
    fcntl.flock(fd, fcntl.LOCK_EX)
    pid = os.fork()
    if pid == 0:
        fcntl.flock(os.open(path, os.O_RDWR), fcntl.LOCK_EX)
        os._exit(1)
    time.sleep(0.1)
    os.kill(pid, signal.SIGTERM)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTERM
    fcntl.flock(fd, fcntl.LOCK_UN)
    assert try_flock(path, fcntl.LOCK_EX)


def test_leases(locked):
    """A read lease is granted only where nobody writes; nothing hangs either way."""
    path, fd = locked
    reader = os.open(path, os.O_RDONLY)
    with pytest.raises(OSError) as caught:
        fcntl.fcntl(reader, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    assert caught.value.errno == errno.EAGAIN
    os.close(reader)
