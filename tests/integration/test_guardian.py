# SPDX-License-Identifier: MIT
"""Daemons that end while a thread of theirs is in the kernel, where it waits for what a request keeps locked:
nothing hangs. And the process that sees to it when they are killed."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import env
import people
import pools
from pattern import noise
from replicas import KIB, MIB, ship
from test_tiers import move, sealed
from test_tiers_bucket import bucket, server  # noqa: F401 (fixtures)

pytestmark = [pytest.mark.asan, pytest.mark.foldfs]

CONTROL = Path("/sys/fs/fuse/connections")
DEAD = (errno.ENOTCONN, errno.ECONNABORTED)
USER = (people.NOBODY, people.NOBODY)  # fusermount3 asks for a name
AS_USER = ["env", "HOME=/nowhere", "setpriv", f"--reuid={USER[0]}", f"--regid={USER[1]}", "--clear-groups"]


def children(pid, name):
    """Of the daemon's main thread, those by that name that live."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found
            if Path(f"/proc/{child}/comm").read_text().strip() == name and pools.alive(child)]


def guardian(mount):
    found = children(mount.pid, "foldfs-guardian")
    assert len(found) == 1
    return found[0]


def in_kernel(pid, name):
    """Threads of that name that wait uninterruptibly."""
    found = []
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            thread, rest = stat.read_text().split("(", 1)[1].rsplit(")", 1)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if thread == name and rest.split()[0] == "D":
            found.append(stat.parent.name)
    return found


def has_ended(pid):
    """With all of its threads: until then the main one is a zombie."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return not Path(f"/proc/{pid}").exists()


def end(mount, how):
    pid, mount.pid = mount.pid, None
    os.kill(pid, how)
    env.until(lambda: has_ended(pid), "all threads of the daemon have ended", timeout=20)


@pytest.fixture
def whole_machine():
    """Other runs of these tests wait."""
    with open("/tmp/foldfs-test-fusectl", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def control(whole_machine):
    """fusectl where users look for it, and the test, too, when something hangs."""
    ours = not os.path.ismount(CONTROL)
    if ours:
        env.run("mount", "-t", "fusectl", "none", CONTROL)
    yield CONTROL
    if ours:
        env.run("umount", "-l", CONTROL)


@pytest.fixture
def may_mount(whole_machine):
    """Users may."""
    env.need_tool("fusermount3", "setpriv")
    mode = os.stat("/dev/fuse").st_mode & 0o777
    os.chmod("/dev/fuse", 0o666)
    yield
    os.chmod("/dev/fuse", mode)


def users(*directories):
    for path in directories:
        path.mkdir()
        os.chown(path, *USER)


@contextmanager
def nothing_left(mount, control):
    """Whatever becomes of the test, nothing goes on hanging."""
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    number = next(line[2].split(":")[1] for line in lines if line[4] == str(mount.dir))
    daemon = Path(f"/proc/{mount.pid}")
    try:
        yield
    finally:
        # else the number may be another mount's by now
        if mount.pid is None and daemon.exists() and (control / number).exists():
            (control / number / "abort").write_text("1")
        if mount.pid is None and pools.is_mounted(mount.dir):
            env.run("umount", "-l", mount.dir)


class Stuck:
    """A mount with a thread in the kernel, and a reader that it waits for."""

    def __init__(self, mount, reader, server, user=()):
        self.mount, self.reader, self.server, self.user = mount, reader, server, user

    def list(self):
        return people.as_user(USER if self.user else (0, 0), os.listdir, str(self.mount.dir))

    def is_dead(self):
        env.run("sync", "-f", self.mount.pool.path)
        assert self.reader.wait(20) != 0
        with pytest.raises(OSError) as caught:
            self.list()
        assert caught.value.errno in DEAD

    def mounts_again(self, name):
        self.server.faults.clear()
        if self.user and pools.is_mounted(self.mount.dir):  # only root's mount.foldfs may clear a dead mount away
            env.run(*self.user, "fusermount3", "-uz", self.mount.dir)
        self.mount.start()
        assert name in self.list()
        self.mount.stop()


def hanging_reader(server, mount, name, size, inside=()):  # noqa: F811
    """All at once: of less, the kernel would keep less."""
    server.fault("hang", "GET .*pack")
    before = server.count("GET .*pack")
    reader = subprocess.Popen([*inside, "dd", f"if={mount.dir / name}", "of=/dev/null", f"bs={size}", "count=1"],
                              stderr=subprocess.DEVNULL)
    env.until(lambda: server.count("GET .*pack") > before, "the reader waits for the bucket")
    return reader


@pytest.fixture(params=["root", "user"])
def stuck_follower(request, control, close_server, replica_bucket, home):
    """The owner changes a file while a reader waits for the bucket to give it."""
    user = []
    if request.param == "user":
        request.getfixturevalue("may_mount")
        user = AS_USER
        users(home / "machine0", home / "machine0/mnt")
    first, asked = replica_bucket.first(destage_delay="1h"), replica_bucket.server
    (first.dir / "film").write_bytes(noise(9 * MIB, 1))
    first.destage()
    ship(first)
    other = replica_bucket.follower(more={"inside": user}, follow_interval="200ms")
    other.expect_log("lies in tier replica, which is absent")
    with nothing_left(other, control):
        reader = hanging_reader(asked, other, "film", 4 * KIB, user)
        os.chmod(first.dir / "film", 0o640)
        ship(first)
        env.until(lambda: in_kernel(other.pid, "follower"), "the follower waits for the page", timeout=20)
        yield Stuck(other, reader, asked, user)
    reader.kill()
    reader.wait()
    asked.faults.clear()


@pytest.fixture
def stuck_caller(control, bucket, server):  # noqa: F811
    """Who looks for a hole waits for a page of it, which is being read with the bytes before."""
    mount = bucket(mode="mediated", cache_size=0)
    mount.expect_log("lies in tier far, which is absent")
    with open(mount.dir / "film", "wb") as file:
        file.write(noise(64 * KIB, 1))
        file.truncate(4 * MIB)
    mount.destage()
    sealed(mount)
    move(mount, "far", mount.dir)
    mount.remount()
    with nothing_left(mount, control):
        looker = os.open(mount.dir / "film", os.O_RDWR)
        reader = hanging_reader(server, mount, "film", 128 * KIB)

        def look():
            try:
                os.lseek(looker, 0, os.SEEK_HOLE)
            except OSError:
                pass

        looking = threading.Thread(target=look)
        looking.start()
        env.until(lambda: in_kernel(mount.pid, "caller"), "a thread waits for the page", timeout=20)
        yield Stuck(mount, reader, server)
    looking.join()
    os.close(looker)
    reader.kill()
    reader.wait()
    server.faults.clear()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGABRT], ids=["kill", "abort"])
def test_a_follower_that_is_killed(stuck_follower, how):
    end(stuck_follower.mount, how)
    stuck_follower.is_dead()
    stuck_follower.mounts_again("film")


def test_a_follower_that_is_told_to_end(stuck_follower):
    end(stuck_follower.mount, signal.SIGTERM)
    assert stuck_follower.reader.wait(20) != 0 and not pools.is_mounted(stuck_follower.mount.dir)
    stuck_follower.mounts_again("film")


def test_a_daemon_that_is_killed(stuck_caller):
    end(stuck_caller.mount, signal.SIGKILL)
    stuck_caller.is_dead()
    stuck_caller.mounts_again("film")


def test_a_daemon_that_is_told_to_end(stuck_caller):
    end(stuck_caller.mount, signal.SIGTERM)
    assert stuck_caller.reader.wait(20) != 0 and not pools.is_mounted(stuck_caller.mount.dir)
    stuck_caller.mounts_again("film")


@pytest.mark.parametrize("hangs_in", ["read", "open"])
def test_a_place_that_hangs(control, new_mount, hangs_in):
    """No answer comes, and who is told to end does not wait for one."""
    place = new_mount(name="place", mode="mediated")
    mount = new_mount(name="near", mode="mediated", cache_size=0, gc_interval=0, tier_interval="1h")
    mount.stop()
    (mount.pool.path / "foldfs.conf").write_text(f"[tier far]\nplace = {place.dir / 'far'}\n")
    (place.dir / "far").mkdir()
    mount.start()
    (mount.dir / "before").write_bytes(noise(2 * MIB, 2))
    mount.destage()
    (mount.dir / "f").write_bytes(noise(64 * KIB, 1))
    os.truncate(mount.dir / "f", 4 * MIB)
    mount.destage()
    sealed(mount)
    move(mount, "far", mount.dir)
    mount.stop()
    place.destage()
    place.remount()
    mount.start()
    with nothing_left(mount, control), open(mount.dir / "f", "r+b") as file:
        if hangs_in == "read":  # the pack is open then
            with open(mount.dir / "before", "rb") as before:
                before.read(1)
        os.kill(place.pid, signal.SIGSTOP)
        try:
            reader = subprocess.Popen(["dd", f"if={mount.dir / 'f'}", "of=/dev/null", "bs=128K", "count=1"],
                                      stderr=subprocess.DEVNULL)
            env.until(lambda: in_kernel(reader.pid, "dd"), "the reader waits for its page", timeout=20)
            with subprocess.Popen([sys.executable, "-c", "import os; os.lseek(0, 0, os.SEEK_HOLE)"], stdin=file,
                                  stderr=subprocess.DEVNULL) as looking:
                env.until(lambda: in_kernel(mount.pid, "caller"), "a thread waits for the page", timeout=20)
                os.kill(mount.pid, signal.SIGTERM)
                assert reader.wait(40) != 0 and looking.wait(40) != 0
                assert not pools.is_mounted(mount.dir)
        finally:
            os.kill(place.pid, signal.SIGCONT)
        pid, mount.pid = mount.pid, None
        env.until(lambda: has_ended(pid), "the daemon has ended", timeout=20)
    mount.start()
    assert (mount.dir / "f").read_bytes()[:64 * KIB] == noise(64 * KIB, 1)
    mount.stop()


def test_a_process_watches_over_a_mount_and_goes_with_it(mount):
    process = Path(f"/proc/{guardian(mount)}")
    held = {os.readlink(link) for link in (process / "fd").iterdir()}
    assert len(held) == 2 and "/dev/null" in held and any(name.endswith("/abort") for name in held)
    assert os.readlink(process / "cwd") == "/"
    mount.stop()
    assert not process.exists()


def test_signals_to_all_leave_it_alone(mount):
    process = guardian(mount)
    for number in [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1]:
        os.kill(process, number)
    (mount.dir / "f").write_bytes(b"data")
    assert guardian(mount) == process
    pid = mount.pid
    end(mount, signal.SIGTERM)
    assert not pools.is_mounted(mount.dir) and not Path(f"/proc/{process}").exists(), pid
    mount.start()
    assert (mount.dir / "f").read_bytes() == b"data"


def test_a_mount_goes_on_without_it(mount):
    process = guardian(mount)
    os.kill(process, signal.SIGKILL)
    env.until(lambda: not pools.alive(process), "it has gone")
    (mount.dir / "f").write_bytes(b"data")
    mount.remount()
    assert (mount.dir / "f").read_bytes() == b"data"


def test_it_goes_with_a_daemon_that_is_killed(mount):
    process = guardian(mount)
    mount.kill()
    env.until(lambda: not pools.alive(process), "it has gone")
    mount.start()


def test_a_mount_that_is_refused_leaves_none(mount, home):
    (home / "second").mkdir()
    mount.pool.run("mount.foldfs", mount.pool.path, home / "second", code=32)
    here = [path for path in Path("/proc").glob("[0-9]*/comm") if path.read_text().strip() == "foldfs-guardian"]
    of_pool = [path for path in here if str(mount.pool.path).encode() in (path.parent / "cmdline").read_bytes()]
    assert [int(path.parent.name) for path in of_pool] == [guardian(mount)]


def test_who_waits_for_the_end_of_a_mounts_output_is_not_kept(pool):
    """Nobody but the daemon has what whoever started it gave it."""
    mount = pools.Mount(pool)
    daemon = subprocess.Popen([env.binary("mount.foldfs"), "--foreground", pool.path, mount.dir],
                              env=pool.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    env.until(lambda: os.path.ismount(mount.dir), "mounted")
    process = children(daemon.pid, "foldfs-guardian")[0]
    os.kill(process, signal.SIGSTOP)
    daemon.kill()
    daemon.communicate(timeout=60 * env.SLOW)
    os.kill(process, signal.SIGCONT)
    env.until(lambda: not pools.alive(process), "it has gone")
    env.run("umount", "-l", mount.dir)


def test_a_users_mount_without_the_kernels_files(may_mount, home):
    """Nobody may end the connection: there is no process, and all goes on."""
    if os.path.ismount(CONTROL):
        pytest.skip(f"{CONTROL} is mounted")
    place = home / "own"
    users(place, place / "mnt")
    env.run(*AS_USER, env.binary("mkfs.foldfs"), place / "pool")
    env.run(*AS_USER, env.binary("mount.foldfs"), place / "pool", place / "mnt", "-o", f"log={place / 'log'}")
    daemon = next(int(path.parent.name) for path in Path("/proc").glob("[0-9]*/comm")
                  if path.read_text().strip() == "mount.foldfs" and
                  str(place).encode() in (path.parent / "cmdline").read_bytes())
    assert not children(daemon, "foldfs-guardian")
    people.as_user(USER, (place / "mnt/f").write_bytes, b"data")
    os.kill(daemon, signal.SIGTERM)
    env.until(lambda: has_ended(daemon), "the daemon has ended")
    assert not pools.is_mounted(place / "mnt") and "error" not in (place / "log").read_text()
