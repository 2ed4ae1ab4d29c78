# SPDX-License-Identifier: MIT
"""Images with a filesystem and a pool, recorded devices, the disks that power cuts leave, mounts.

Images live in a tmpfs of their own below the test's directory: nothing here needs to survive.
"""

import os
import shutil
import signal
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import env

MKFS = {
    "ext4": (192, ["mkfs.ext4", "-q", "-F", "-J", "size=8", "-E", "lazy_itable_init=0,nodiscard"]),
    "xfs": (320, ["mkfs.xfs", "-q", "-f", "-K"]),
    "btrfs": (256, ["mkfs.btrfs", "-q", "-f", "-K", "--mixed"]),
}
POOL_OPTIONS = "reserve_size=0,cache_size=4M,pack_size=4M"
WRITE, DONE, FLUSH, MARK = 1, 2, 3, 4
HEADER = struct.Struct("<IIQQII")
MAGIC = 0x474F4C42


class BackingLost(Exception):
    """The backing filesystem itself has not survived: a torn superblock, which is not ours to mend."""


class Ram:
    """A tmpfs for images."""

    def __init__(self, path):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        env.run("mount", "-t", "tmpfs", "-o", "size=6g", "foldfs-crash", self.path)

    def done(self):
        env.run("umount", "-l", self.path, code=None)


def make_image(path, kind, work):
    """An image with a filesystem that holds an empty pool."""
    size, command = MKFS[kind]
    env.need_tool(command[0])
    with open(path, "wb") as file:
        file.truncate(size << 20)
    env.run(*command, path)
    with Backing(path, work) as backing:
        env.run(env.binary("mkfs.foldfs"), "-o", POOL_OPTIONS, backing.pool)
    return path


class Backing:
    """The backing filesystem, mounted: an image through a loop device, or a device."""

    def __init__(self, device, directory):
        self.device, self.dir = device, Path(directory)
        self.pool = self.dir / "pool"
        self.dir.mkdir(parents=True, exist_ok=True)

    def __enter__(self):
        loop = [] if str(self.device).startswith("/dev/") else ["-o", "loop"]
        kind = env.run("blkid", "-p", "-o", "value", "-s", "TYPE", self.device, code=None).stdout
        if kind.strip() == "xfs":
            loop += ["-o", "nouuid"]  # several states of one image at a time
        done = env.run("mount", *loop, self.device, self.dir, code=None)
        if done.returncode:
            raise BackingLost(done.stderr.strip())
        return self

    def __exit__(self, failure, *_):
        if failure:
            env.run("umount", "-l", self.dir)
            return
        deadline = time.monotonic() + 30 * env.SLOW
        while env.run("umount", self.dir, code=None).returncode:
            if time.monotonic() > deadline:
                env.run("umount", "-l", self.dir)
                raise AssertionError(f"{self.dir} stays busy")
            time.sleep(0.02)


class Recorder:
    """A recorded block device with a copy of an image in it."""

    def __init__(self, image, log, directory, hold_us=200):
        self.dir, self.log = Path(directory), Path(log)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen([env.binary("tests/crash/blockrec"), "-h", str(hold_us),
                                         image, self.log, self.dir])
        env.until(lambda: os.path.ismount(self.dir), "blockrec serves")
        self.marks = os.open(self.dir / "mark", os.O_WRONLY)
        self.device = env.run("losetup", "--find", "--show", "--direct-io=on",
                              self.dir / "disk").stdout.strip()

    def mark(self, text):
        os.pwrite(self.marks, text.encode(), 0)

    def done(self):
        os.close(self.marks)
        env.run("losetup", "-d", self.device)
        try:
            env.until(lambda: env.run("umount", self.dir, code=None).returncode == 0,
                      "blockrec's device is free", timeout=10)
        except AssertionError:
            env.run("umount", "-l", self.dir)
            raise
        assert self.process.wait(30) == 0, "blockrec failed"


@dataclass
class Record:
    kind: int
    time_ns: int
    text: str = ""      # of a mark


def read_log(path):
    records = []
    with open(path, "rb") as file:
        while len(head := file.read(HEADER.size)) == HEADER.size:
            magic, kind, _, time_ns, length, _ = HEADER.unpack(head)
            assert magic == MAGIC, f"{path} is no log of blocks"
            if kind == MARK:
                records.append(Record(kind, time_ns, file.read(length).decode()))
            else:
                file.seek(length, os.SEEK_CUR)
                records.append(Record(kind, time_ns))
    return records


class Cutter:
    """Builds crash images, one after the other in the same place."""

    def __init__(self, log, image, out):
        self.out = Path(out)
        self.process = subprocess.Popen([env.binary("tests/crash/blockcut"), log, image, out],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def build(self, number, mode, seed):
        """Returns how many writes could have been lost, and how many were kept."""
        self.process.stdin.write(f"{number} {mode} {seed}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        assert answer, "blockcut failed"
        return int(answer[0]), int(answer[1])

    def done(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Served:
    """A pool, served in the foreground by a process of ours."""

    def __init__(self, pool, directory, options, environ=None, complains=False):
        self.complains = complains      # it may log errors: there is damage
        self.pool, self.dir = Path(pool), Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.log = self.dir.with_name(self.dir.name + ".log")
        self.options = f"{options},log={self.log}"
        self.environ = {**os.environ, **(environ or {})}
        self.process = None

    def start(self):
        self.log.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [env.binary("mount.foldfs"), "--foreground", "-n", "-o", f"transport=dev,{self.options}", self.pool,
             self.dir],
            env=self.environ, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 30 * env.SLOW
        device = os.stat(self.dir.parent).st_dev
        while self._device() in (None, device):
            if self.process.poll() is not None:
                raise AssertionError(f"the pool does not mount: {self.process.stderr.read().strip()}\n"
                                     + self.log_text())
            assert time.monotonic() < deadline, "the pool is not mounted in time"
            time.sleep(0.002)
        return self

    def _device(self):
        try:
            return os.stat(self.dir).st_dev
        except OSError:
            return None

    def alive(self):
        return self.process.poll() is None

    def unmount(self):
        """Cleanly; returns when the daemon has ended."""
        env.run("umount", self.dir)
        try:
            status = self.process.wait(60 * env.SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"unmounted, and the daemon does not end\n{self.stacks()}") from None
        self.process.stderr.close()
        assert status == 0, f"the daemon ended with status {status}\n{self.log_text()}"
        complaints = [line for line in self.log_text().splitlines() if "foldfs error: " in line]
        assert self.complains or not complaints, "the daemon complained: " + "\n".join(complaints[:5])

    def kill(self):
        """At once, as if the machine had lost its power; clears the dead mount away."""
        self.process.send_signal(signal.SIGKILL)
        self.bury()

    def bury(self):
        """The daemon has died or is about to."""
        status = self.process.wait(60 * env.SLOW)
        self.process.stderr.close()
        env.run("umount", "-l", self.dir, code=None)
        return status

    def stacks(self):
        """Where the daemon's threads are, if there is a debugger."""
        if not shutil.which("gdb"):
            return ""
        text = env.run("gdb", "-batch", "-p", str(self.process.pid), "-ex", "thread apply all bt 8",
                       code=None).stdout
        return "\n".join(line for line in text.splitlines() if line.startswith(("Thread", "#")))

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def fsck(pool, failed=False):
    """Checks the pool after a clean unmount, where there is a checker; it must be clean, and hold no
    pack that the index does not know. FAILED: the log had failed, as in a crash, and the next mount
    removes those whose rows it did not get, or takes them in when later chunks have theirs."""
    if (env.BUILD / "fsck.foldfs").exists():
        notes = env.run(env.binary("fsck.foldfs"), "-n", "-v", pool).stdout
        strays = [line for line in notes.splitlines() if "note: packs/" in line
                  and not (failed and line.endswith(("the next mount removes it", "the next mount takes it in")))]
        assert not strays, "\n".join(strays)


def copy_sparse(source, target):
    shutil.copyfile(source, target) if not shutil.which("cp") else env.run(
        "cp", "--sparse=always", source, target)
