# SPDX-License-Identifier: MIT
"""The end of a mount: orderly, by signal and by force; nothing that was promised is lost."""

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import env
import pools
from mapping import Mapping
from pattern import noise
from syscalls import RENAME_EXCHANGE, renameat2

pytestmark = [pytest.mark.asan, pytest.mark.foldfs]

MIB = 1 << 20
F_OFD_SETLK = 37


def lock_is_free(pool):
    return env.run("flock", "-n", pool.path / "lock", "true", code=None).returncode == 0


def fill(mount, files=40):
    for number in range(files):
        (mount.dir / f"f{number}").write_bytes(noise(MIB, number))


def check(mount, files=40):
    for number in range(files):
        assert (mount.dir / f"f{number}").read_bytes() == noise(MIB, number), number


def test_umount_returns_when_the_lock_is_free(mount):
    fill(mount)
    mount.pool.run("umount.foldfs", mount.dir)
    assert not os.path.ismount(mount.dir) and lock_is_free(mount.pool)
    mount.start()
    check(mount)


def test_mount_again_at_once(mount):
    """A mount waits for the lock of a daemon that is going away, whoever unmounted it and how."""
    fill(mount, 10)
    for turn in range(5):
        env.run("umount", mount.dir)
        pid, mount.pid = mount.pid, None
        mount.start()
        pools.reap(pid)
        check(mount, 10)
        (mount.dir / f"turn{turn}").write_bytes(noise(MIB, 50 + turn))
    assert (mount.dir / "turn4").read_bytes() == noise(MIB, 54)


def test_what_was_deleted_just_before_stays_deleted(mount):
    """Nothing that waits to be destaged or reaped brings a deleted file's row back."""
    for number in range(20):
        path = mount.dir / f"f{number}"
        with open(path, "w+b" if number % 2 else "wb") as file:
            file.write(noise(5000, number))
        if number % 3 == 0:
            path.chmod(0o600)
        path.unlink()
    mount.stop()  # fsck.foldfs -n is part of that
    mount.start()
    assert not list(mount.dir.iterdir()) and not list((mount.pool.path / "staging").iterdir())


def test_a_mount_waits_for_an_umount_that_still_syncs(mount):
    """The helper of umount holds a record lock on POOL/lock until the mount point is gone."""
    (mount.dir / "f").write_bytes(noise(1000))
    elsewhere = mount.pool.home / "elsewhere"
    elsewhere.mkdir()
    lock = mount.pool.path / "lock"
    whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    with open(lock, "r+b") as file:
        fcntl.fcntl(file, F_OFD_SETLK, whole)
        second = subprocess.Popen([env.binary("mount.foldfs"), "-n", mount.pool.path, elsewhere],
                                  env=mount.pool.environ)
        env.until(lambda: waits_for(lock), "the second mount waits")
        env.run("umount", "-i", mount.dir)
    assert second.wait(60 * env.SLOW) == 0
    assert (elsewhere / "f").read_bytes() == noise(1000)
    mount.pool.run("umount.foldfs", elsewhere)
    mount.start()


def waits_for(path):
    inode = f":{path.stat().st_ino} "
    with open("/proc/locks") as file:
        return any("->" in line and inode in line for line in file)


def test_umount_is_refused_while_in_use(mount):
    with open(mount.dir / "f", "wb") as file:
        file.write(b"x")
        done = mount.pool.run("umount.foldfs", mount.dir, code=None)
        assert done.returncode == 32 and str(mount.dir) in done.stderr
        assert os.path.ismount(mount.dir)
    assert (mount.dir / "f").read_bytes() == b"x"


def test_umount_of_what_is_not_mounted(home):
    done = env.run(env.binary("umount.foldfs"), home, code=None)
    assert done.returncode != 0 and str(home) in done.stderr


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_signal_unmounts_and_keeps_everything(mount, how):
    fill(mount)
    pid, mount.pid = mount.pid, None
    os.kill(pid, how)
    env.until(lambda: not pools.alive(pid), "the daemon has ended", timeout=60)
    assert pools.reap(pid) in (0, None)
    assert not os.path.ismount(mount.dir) and lock_is_free(mount.pool)
    mount.start()
    check(mount)


def test_sigterm_while_files_are_open(mount):
    """The mount goes away under the opener, with all it had written."""
    file = os.open(mount.dir / "f", os.O_CREAT | os.O_RDWR)
    os.write(file, noise(MIB))
    pid, mount.pid = mount.pid, None
    os.kill(pid, signal.SIGTERM)
    env.until(lambda: not pools.alive(pid), "the daemon has ended", timeout=60)
    pools.reap(pid)
    try:
        os.close(file)
    except OSError:
        pass
    if os.path.ismount(mount.dir):
        env.run("umount", "-l", mount.dir)
    mount.start()
    assert (mount.dir / "f").read_bytes() == noise(MIB)


def test_a_second_daemon_is_refused(mount):
    fill(mount, 3)
    second = mount.pool.home / "second"
    second.mkdir()
    done = mount.pool.run("mount.foldfs", mount.pool.path, second, code=32)
    assert str(mount.pool.path) in done.stderr
    assert not os.path.ismount(second)
    check(mount, 3)


def test_kill_9_then_mount_again_shows_what_was_fsynced(mount):
    (mount.dir / "d").mkdir()
    for number in range(20):
        with open(mount.dir / "d" / f"f{number}", "wb" if number % 2 else "w+b") as file:
            file.write(noise(100_000, number))
            file.flush()
            os.fsync(file.fileno())
    os.rename(mount.dir / "d" / "f0", mount.dir / "moved")
    fd = os.open(mount.dir, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    mount.kill()
    mount.start()
    assert (mount.dir / "moved").read_bytes() == noise(100_000, 0)
    for number in range(1, 20):
        assert (mount.dir / "d" / f"f{number}").read_bytes() == noise(100_000, number)
    mount.stop()
    mount.pool.fsck()
    mount.start()


def all_is_durable(stats):
    return stats["memory_bytes"] == 0 and stats["kv"]["durable_lsn"] == stats["kv"]["last_lsn"]


def test_kill_9_loses_at_most_the_sync_interval(new_mount):
    """Names and the daemon's data are durable by themselves after wal_sync_interval."""
    mount = new_mount(wal_sync_interval=0.2, destage_delay=600)
    for number in range(50):
        (mount.dir / f"f{number}").write_bytes(noise(5000, number))
    os.mkdir(mount.dir / "d")
    os.symlink("t", mount.dir / "d" / "l")
    os.setxattr(mount.dir / "f0", "user.a", b"1")
    env.until(lambda: all_is_durable(mount.stats()), "the interval has passed, and all is in the log")
    mount.kill()
    mount.start()
    for number in range(50):
        assert (mount.dir / f"f{number}").read_bytes() == noise(5000, number)
    assert os.readlink(mount.dir / "d" / "l") == "t"
    assert os.getxattr(mount.dir / "f0", "user.a") == b"1"


@pytest.mark.parametrize("mode", ["auto", "mediated"])
@pytest.mark.parametrize("kept", [True, False], ids=["open", "closed"])
def test_a_sync_finds_what_programs_have_stored_into_mappings(new_mount, mode, kept):
    """Only the kernel has it until then."""
    mount = new_mount(mode=mode)
    path = mount.dir / "f"
    path.write_bytes(noise(MIB))
    mount.destage()
    fd = os.open(path, os.O_RDWR)
    with Mapping(fd, MIB) as view:
        if not kept:
            os.close(fd)
        for at in range(0, MIB, 100_000):
            view.write(at, b"stored")
        mount.sync()
        mount.die()
    if kept:
        os.close(fd)
    env.run("umount", "-l", mount.dir)
    mount.start()
    content = path.read_bytes()
    assert [at for at in range(0, MIB, 100_000) if content[at:at + 6] != b"stored"] == []


def test_a_sync_finds_small_files_of_every_age(new_mount):
    """Also those that a tick has left to destage, which has not stored them yet."""
    mount = new_mount(wal_sync_interval=0.2, destage_delay=600)
    names = [f"f{turn}-{age}" for turn in range(4) for age in range(6)]
    for number, name in enumerate(names):
        (mount.dir / name).write_bytes(noise(3000, number))
        time.sleep(0.03)             # for files of different ages: what happens meanwhile is no state
        if name.endswith("5"):
            mount.sync()
            mount.kill()
            mount.start()
            for earlier in range(number + 1):
                assert (mount.dir / names[earlier]).read_bytes() == noise(3000, earlier), name


def test_a_sync_fails_when_a_file_cannot_be_made_durable(new_mount):
    mount = new_mount(wal_sync_interval=3600, destage_delay=600)
    mount.stop()
    mount.pool.environ["FOLDFS_FAULT"] = "release_hold:1=ENOSPC"
    mount.start()
    with open(mount.dir / "held", "wb") as file:
        file.write(noise(9000, 1))
        file.flush()
        done = mount.foldfs("sync", mount.dir, code=1)
        assert "No space left on device" in done.stderr
        mount.sync()
    mount.kill()
    del mount.pool.environ["FOLDFS_FAULT"]
    mount.start()
    assert (mount.dir / "held").read_bytes() == noise(9000, 1)


def test_a_sync_fails_when_the_daemon_has_died(mount):
    """It cannot know what was written, so it must not say that all is durable."""
    (mount.dir / "f").write_bytes(b"perhaps")
    mount.kill()
    done = env.run(env.binary("foldfs"), "sync", mount.pool.path, code=1)
    assert "has no daemon that could sync it" in done.stderr
    mount.start()


def test_kill_9_again_and_again(mount):
    """Each round killed in the middle of work; what each had synced is there ever after."""
    for turn in range(6):
        (mount.dir / f"synced{turn}").write_bytes(noise(300_000, turn))
        mount.sync()
        worker = os.fork()
        if worker == 0:
            number = 0
            while True:
                try:
                    (mount.dir / f"loose{turn}-{number}").write_bytes(noise(50_000, number))
                except OSError:
                    os._exit(0)
                number += 1
        time.sleep(0.2)
        mount.kill()
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
        mount.start()
        for earlier in range(turn + 1):
            assert (mount.dir / f"synced{earlier}").read_bytes() == noise(300_000, earlier)
        for path in mount.dir.glob("loose*"):
            number = int(path.name.rsplit("-", 1)[1])
            data = path.read_bytes()
            assert noise(50_000, number).startswith(data.rstrip(b"\0")), f"{path}: not its bytes"
    mount.stop()
    mount.pool.fsck()
    mount.start()


def test_replace_by_rename_survives_a_crash_whole(mount):
    """Without any fsync: the name shows the old file or the new one, never an empty or mixed one."""
    path = mount.dir / "f"
    path.write_bytes(b"0" * 200_000)
    mount.sync()
    for version in range(1, 40):
        (mount.dir / "tmp").write_bytes(b"%d" % (version % 10) * 200_000)
        os.rename(mount.dir / "tmp", path)
    mount.kill()
    mount.start()
    data = path.read_bytes()
    assert len(data) == 200_000 and len(set(data)) == 1


def test_exchange_survives_a_crash_whole(new_mount):
    """As above, and that of both names, when the exchange is durable and nothing was said of the files."""
    mount = new_mount(wal_sync_interval="1h", destage_delay=600)
    for size in 3000, 200_000:
        here = mount.dir / str(size)
        here.mkdir()
        (here / "f").write_bytes(b"old" * size)
        mount.sync()
        (here / "f").write_bytes(b"mid" * size)
        (here / "tmp").write_bytes(b"new" * size)
        renameat2(here / "tmp", here / "f", RENAME_EXCHANGE)
    with open(mount.dir / "other", "wb") as other:
        os.fsync(other.fileno())
    mount.kill()
    mount.start()
    for size in 3000, 200_000:
        assert (mount.dir / str(size) / "f").read_bytes() == b"new" * size
        assert (mount.dir / str(size) / "tmp").read_bytes() in (b"mid" * size, b"old" * size)


def test_the_dead_mount_point_recovers(mount):
    """After a crash the old mount point is of no use until it is mounted over or unmounted."""
    fill(mount, 2)
    mount.sync()
    mount.die()
    with pytest.raises(OSError) as caught:
        os.listdir(mount.dir)
    assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    mount.start()
    check(mount, 2)


def test_a_dead_mount_point_whose_attributes_are_cached(mount):
    """The kernel answers stat() of its root by itself, for as long as attributes live."""
    os.stat(mount.dir)
    mount.die()
    mount.start()
    assert Path("/proc/self/mounts").read_text().count(f" {mount.dir} ") == 1
    mount.stop()
    assert not os.path.ismount(mount.dir)
    mount.start()


def test_umount_by_pool_spares_what_lies_on_top(mount, home):
    (home / "second").mkdir()
    other = pools.Mount(pools.Pool(home / "second"))
    other.pool.run("mount.foldfs", other.pool.path, mount.dir)
    done = mount.pool.run("umount.foldfs", mount.pool.path, code=32)
    assert str(other.pool.path) in done.stderr
    other.pool.run("umount.foldfs", other.pool.path)
    mount.pool.run("umount.foldfs", mount.pool.path)
    mount.start()


def test_a_copy_cannot_share_the_log_directory(new_mount, home):
    """A pool and its copy name the same wal_dir: two daemons there would overwrite each other."""
    (home / "log").mkdir()
    first = new_mount(mkfs={"wal_dir": home / "log"})
    first.stop()
    subprocess.run(["cp", "-a", first.pool.path, home / "copy"], check=True)
    first.start()
    (home / "other").mkdir()
    done = first.pool.run("mount.foldfs", home / "copy", home / "other", code=32)
    assert str(home / "log") in done.stderr and "in use" in done.stderr


def test_what_root_makes_in_a_users_pool_is_the_users(home):
    os.chown(home, 65534, 65534)
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    env.run(*user, env.binary("mkfs.foldfs"), home / "own")
    (home / "mnt").mkdir()
    env.run(env.binary("mount.foldfs"), home / "own", home / "mnt")
    (home / "mnt" / "f").write_bytes(noise(MIB))
    env.run(env.binary("foldfs"), "sync", "--destage", home / "mnt")
    with open(home / "mnt" / "open", "w+b") as file:
        file.write(noise(MIB, 2))
        file.flush()
        made = {path: path.stat().st_uid for path in (home / "own").rglob("*")}
    env.run(env.binary("umount.foldfs"), home / "mnt")
    assert {path for path, owner in made.items() if owner != 65534} == {home / "own" / "control"}
    env.run(*user, env.binary("fsck.foldfs"), "-n", home / "own")


@pytest.fixture
def strangers(home):
    """A pool that is not root's, and a file that is."""
    pool = pools.Pool(home)
    env.run("chown", "-R", "65534:65534", home)
    victim = Path(tempfile.mkdtemp(dir=home.parent)) / "victim"
    victim.write_text("root's\n")
    victim.chmod(0o600)
    (home / "mnt").mkdir()
    yield pool, home / "mnt", victim
    shutil.rmtree(victim.parent)


def test_a_log_that_leads_elsewhere_is_not_written(strangers):
    pool, where, victim = strangers
    os.symlink(victim, pool.path / "foldfs.log")
    assert "foldfs.log" in pool.run("mount.foldfs", pool.path, where).stderr
    pool.run("umount.foldfs", where)
    assert victim.read_text() == "root's\n"


def test_the_control_socket_is_for_all_and_nothing_else_is(strangers):
    """Whose pool it is puts a link in its place as soon as it is there."""
    env.need_tool("strace")
    pool, where, victim = strangers
    slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fchmodat", "-e", "inject=fchmodat:delay_enter=3s"]
    untraceable = {"ASAN_OPTIONS": pool.environ["ASAN_OPTIONS"] + ":detect_leaks=0"}
    with subprocess.Popen([*slow, env.binary("mount.foldfs"), "--foreground", pool.path, where],
                          env=pool.environ | untraceable) as daemon:
        env.until(lambda: (pool.path / "control").is_socket(), "the socket is there")
        assert stat.S_IMODE(os.lstat(pool.path / "control").st_mode) in (0o666, 0o777)
        os.symlink(victim, pool.path / "link")
        os.rename(pool.path / "link", pool.path / "control")
        env.until(lambda: os.path.ismount(where), "it is mounted")
        os.statvfs(where)
        env.run("umount", where)
        assert daemon.wait(60) == 0
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600


def test_the_reserve_follows_its_option(mount):
    reserve = mount.pool.path / "reserve"
    sizes = []
    for size in ["32M", "8M", "0"]:
        mount.stop()
        mount.start(reserve_size=size)
        sizes.append(reserve.stat().st_blocks * 512 if reserve.exists() else 0)
    assert sizes == [32 << 20, 8 << 20, 0]


def test_sync_makes_durable_without_fsync(new_mount):
    mount = new_mount(wal_sync_interval=600, destage_delay=600)
    (mount.dir / "a").write_bytes(noise(5000, 1))
    with open(mount.dir / "b", "w+b", buffering=0) as file:
        file.write(noise(MIB, 2))
        mount.sync()
        mount.kill()
    mount.start()
    assert (mount.dir / "a").read_bytes() == noise(5000, 1)
    assert (mount.dir / "b").read_bytes() == noise(MIB, 2)


def test_umount_while_much_is_staged(new_mount):
    """Everything staged is kept, destaged or not, and fsck finds nothing."""
    mount = new_mount(destage_delay=600)
    fill(mount, 60)
    mount.stop()
    mount.pool.fsck()
    mount.start()
    check(mount, 60)


def ask(mount, **request):
    """A request to the control socket; who asks may then do as they like with the answer."""
    asker, here = socket.socket(socket.AF_UNIX), os.open(mount.pool.path, os.O_PATH)
    asker.connect(f"/proc/self/fd/{here}/control")
    os.close(here)
    asker.sendall(json.dumps(request).encode() + b"\n")
    return asker


def test_umount_does_not_wait_for_who_asked_and_does_not_read(mount):
    """`foldfs`, stopped by Ctrl-Z, say. The answer is longer than what a socket takes."""
    with ask(mount, command="du", inodes=[1] * 4000) as asker:
        assert asker.recv(12) == b'{"ok":true,"'
        mount.stop()


def test_umount_does_not_wait_for_a_destage_that_was_asked_for(new_mount):
    """What is staged has the next mount's time."""
    mount = new_mount(destage_delay=600, zstd_level=19)
    data = [noise(8 * MIB, number).hex().encode() for number in range(4)]
    for number, hexadecimal in enumerate(data):
        (mount.dir / str(number)).write_bytes(hexadecimal)
    with ask(mount, command="sync", destage=True) as asker:
        env.until(lambda: mount.stats()["destage"]["active_files"], "it has begun")
        mount.stop()
        assert b"unmounted" in asker.recv(1000)
    assert os.listdir(mount.pool.path / "staging")
    mount.start()
    assert all((mount.dir / str(number)).read_bytes() == data[number] for number in range(4))


def test_lazy_umount_finishes_with_the_last_user(mount):
    file = os.open(mount.dir / "f", os.O_CREAT | os.O_RDWR)
    os.write(file, noise(MIB, 1))
    env.run("umount", "-l", mount.dir)
    os.pwrite(file, b"after", 0)
    assert os.pread(file, 5, 0) == b"after"
    pid, mount.pid = mount.pid, None
    os.close(file)
    env.until(lambda: not pools.alive(pid), "the daemon has ended", timeout=60)
    pools.reap(pid)
    mount.start()
    assert (mount.dir / "f").read_bytes() == b"after" + noise(MIB, 1)[5:]


def test_threads_of_umount_and_work(mount):
    """umount in a loop against a busy writer: it fails with busy, or works, and nothing is lost."""
    refused = mount.pool.home / "refused"
    writer = subprocess.Popen(["bash", "-c", f"cd {mount.dir} && for i in $(seq 1000); do echo $i > n$i; done; "
                               f"until [ -e {refused} ]; do sleep 0.01; done"])
    env.until(lambda: (mount.dir / "n1").exists(), "the writer is at work in the mount")
    while writer.poll() is None:
        if not mount.pool.run("umount.foldfs", mount.dir, code=None).returncode:
            break
        refused.touch()
    assert writer.wait(60) == 0 and refused.exists()
    if os.path.ismount(mount.dir):
        mount.stop()
    else:
        pid, mount.pid = mount.pid, None
        pools.reap(pid)
    mount.start()
    assert sorted(int(p.read_text()) for p in mount.dir.glob("n*")) == list(range(1, 1001))
