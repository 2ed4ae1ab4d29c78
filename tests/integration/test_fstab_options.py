# SPDX-License-Identifier: MIT
"""The mount helper under mount(8) and fstab: every option they hand down, and their exit codes."""

import os
import shutil
import subprocess

import pytest

import env
import pools
from pattern import noise

pytestmark = [pytest.mark.asan, pytest.mark.foldfs]


@pytest.fixture
def target(pool):
    """A mount of the pool that the test starts by its own command."""
    mount = pools.Mount(pool)
    yield mount
    if os.path.ismount(mount.dir):
        mount.pid = mount.pid or pool.owner()
        mount.stop()


def mount_with(target, *argv, code=0):
    done = target.pool.run("mount.foldfs", *argv, code=code)
    if code == 0:
        target.pid = target.pool.owner()
    return done


FSTAB = ["rw", "defaults", "noexec", "exec", "nosuid", "suid", "nodev", "dev", "user", "nouser",
         "users", "owner", "group", "nofail", "_netdev", "auto", "noauto", "x-systemd.automount",
         "x-systemd.requires=network.target", "x-gvfs-show", "comment=hello", "relatime", "noatime",
         "async", "sync", "dirsync", "nodiratime", "strictatime", "lazytime"]


@pytest.mark.parametrize("option", FSTAB)
def test_options_of_fstab_are_accepted(target, option):
    mount_with(target, target.pool.path, target.dir, "-o", option)
    (target.dir / "f").write_bytes(noise(1000))
    assert (target.dir / "f").read_bytes() == noise(1000)


def test_many_options_at_once_and_the_order_mount_8_uses(target):
    """mount(8) calls: helper SPEC DIR [-sfnv] [-N namespace] -o OPTIONS [-t TYPE.SUBTYPE]."""
    mount_with(target, target.pool.path, target.dir, "-v", "-n", "-o",
               "rw,nosuid,nodev,noexec,user=root,_netdev,x-a.b=c,comment=x,mode=mediated",
               "-t", "fuse.foldfs")
    flags = os.statvfs(target.dir).f_flag
    assert flags & os.ST_NOSUID and flags & os.ST_NODEV and flags & os.ST_NOEXEC


def test_without_nosuid_and_nodev_both_work(target):
    mount_with(target, target.pool.path, target.dir)
    flags = os.statvfs(target.dir).f_flag
    assert not flags & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_RDONLY)


def test_noexec_is_enforced(target):
    mount_with(target, target.pool.path, target.dir, "-o", "noexec")
    shutil.copy(shutil.which("true"), target.dir / "true")
    with pytest.raises(PermissionError):
        subprocess.run([target.dir / "true"])


def test_fake(target):
    """-f does everything but mount."""
    mount_with(target, "-f", target.pool.path, target.dir)
    assert not os.path.ismount(target.dir) and target.pool.owner() is None


def test_sloppy_ignores_what_it_does_not_know(target):
    mount_with(target, "-s", target.pool.path, target.dir, "-o", "nonsense,rw")
    assert os.path.ismount(target.dir)


def test_read_only(target):
    target.start()
    (target.dir / "f").write_bytes(noise(100_000))
    (target.dir / "d").mkdir()
    target.destage()
    target.remount(ro=True)
    assert os.statvfs(target.dir).f_flag & os.ST_RDONLY
    assert (target.dir / "f").read_bytes() == noise(100_000)
    for function, args in ((os.unlink, (target.dir / "f",)), (os.rmdir, (target.dir / "d",)),
                           (os.mkdir, (target.dir / "new",)), (os.chmod, (target.dir / "f", 0)),
                           (os.truncate, (target.dir / "f", 0)),
                           (os.setxattr, (target.dir / "f", "user.a", b"1")),
                           ((target.dir / "f").write_bytes, (b"x",))):
        with pytest.raises(OSError) as caught:
            function(*args)
        assert caught.value.errno == 30
    target.remount(ro=None)
    assert (target.dir / "f").read_bytes() == noise(100_000)
    assert sorted(os.listdir(target.dir)) == ["d", "f"]


def test_read_only_with_staged_data_shows_it(target):
    """Not destaged, not even cleanly unmounted: a read-only mount still shows all of it."""
    target.start(destage_delay=600)
    with open(target.dir / "f", "w+b", buffering=0) as file:
        file.write(noise(500_000))
        os.fsync(file.fileno())
    target.kill()
    target.start(ro=True)
    assert (target.dir / "f").read_bytes() == noise(500_000)
    target.remount(ro=None)
    assert (target.dir / "f").read_bytes() == noise(500_000)


@pytest.mark.parametrize("option, moved", [
    ("relatime", {"file", "dir"}), ("noatime", set()), ("nodiratime", {"file"}), ("noatime,nodiratime", set())])
def test_access_times_move_as_the_options_say(target, option, moved):
    mount_with(target, target.pool.path, target.dir, "-o", option)
    (target.dir / "dir").mkdir()
    (target.dir / "dir" / "file").write_text("x")
    paths = {"dir": target.dir / "dir", "file": target.dir / "dir" / "file"}
    for path in paths.values():
        os.utime(path, (1e9, path.stat().st_mtime))
    (target.dir / "dir" / "file").read_text()
    os.listdir(target.dir / "dir")
    assert {name for name, path in paths.items() if path.stat().st_atime > 1e9} == moved


def test_remount_cannot_make_a_read_only_daemon_write(target):
    mount_with(target, target.pool.path, target.dir, "-o", "ro")
    done = mount_with(target, target.pool.path, target.dir, "-o", "remount,rw", code=32)
    assert len(done.stderr.splitlines()) == 1 and "mount it again" in done.stderr
    assert os.statvfs(target.dir).f_flag & os.ST_RDONLY
    mount_with(target, target.pool.path, target.dir, "-o", "remount,ro,noexec")
    assert os.statvfs(target.dir).f_flag & (os.ST_RDONLY | os.ST_NOEXEC) == os.ST_RDONLY | os.ST_NOEXEC


def test_remount_read_only_and_back(target):
    mount_with(target, target.pool.path, target.dir)
    mount_with(target, target.pool.path, target.dir, "-o", "remount,ro")
    with pytest.raises(OSError):
        (target.dir / "f").write_text("x")
    mount_with(target, target.pool.path, target.dir, "-o", "remount,rw")
    (target.dir / "f").write_text("x")


# ---- through mount(8) itself, with our helpers where it looks for them


WRAPPER = """
set -e
mkdir "$T/new" "$T/orig"
mount --bind /usr/sbin "$T/orig"
mount -t tmpfs none "$T/new"
for tool in "$T"/orig/*; do ln -s "$tool" "$T/new/"; done
for tool in mount umount fsck mkfs; do
    ln -sf "$B/$tool.foldfs" "$T/new/$tool.foldfs"
    ln -sf "$B/$tool.foldfs" "$T/new/$tool.fuse.foldfs"
done
mount --bind "$T/new" /usr/sbin
"""


def with_helpers(target, script, code=0):
    """Runs SCRIPT in a mount namespace where /sbin has our helpers. $POOL, $DIR and $T are set."""
    env.need_tool("unshare", "mount")
    place = target.pool.home / "ns"
    place.mkdir()
    environ = {**target.pool.environ, "T": str(place), "B": str(env.BUILD),
               "POOL": str(target.pool.path), "DIR": str(target.dir)}
    done = subprocess.run(["unshare", "-m", "--propagation", "private", "bash", "-c",
                           WRAPPER + script], env=environ, capture_output=True, text=True,
                          timeout=120 * env.SLOW)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_mount_t_fuse_foldfs(target):
    out = with_helpers(target, """
mount -t fuse.foldfs "$POOL" "$DIR" -o noexec
findmnt -n -o FSTYPE,SOURCE "$DIR"
echo content > "$DIR/f"
umount "$DIR"
flock -n "$POOL/lock" true && echo free
mount -t fuse.foldfs "$POOL" "$DIR" && cat "$DIR/f" && umount "$DIR"
""").stdout
    assert out.split() == ["fuse.foldfs", str(target.pool.path), "free", "content"]


def test_fstab_line(target):
    out = with_helpers(target, """
echo "$POOL $DIR fuse.foldfs rw,nosuid,nodev,nofail,_netdev,user,x-gvfs-hide,comment=c 0 0" > "$T/fstab"
mount -T "$T/fstab" "$DIR"
echo content > "$DIR/f"
umount "$DIR"
mount -a -T "$T/fstab"
cat "$DIR/f"
mount -o remount,ro "$DIR" || true
umount "$DIR"
""").stdout
    assert out.strip() == "content"


def test_exit_codes_reach_mount_8(target):
    with_helpers(target, 'mount -t fuse.foldfs "$POOL/nowhere" "$DIR"; exit $?'.replace("; ", " || "),
                 code=32)


def test_an_option_mistake_has_the_usage_code(target):
    with_helpers(target, 'mount -t fuse.foldfs "$POOL" "$DIR" -o mode=sometimes || exit $?', code=1)


def test_fsck_through_fsck_8(target):
    env.need_tool("fsck")
    with_helpers(target, 'fsck.fuse.foldfs -n "$POOL" || exit $?')
