# SPDX-License-Identifier: MIT
"""The filesystems that are compared, each on the same loop device over one image file.

The device reads and writes its image with O_DIRECT, so nothing is cached below the filesystem under
test, and what it caches itself goes when it is unmounted: that is how `cold` drops caches. foldfs's
own block cache, a file that outlives the mount, is dropped too (POOL/cache is removed).
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

from commands import Failed, probe, run, run_json, until


class Device:
    """A loop device over a sparse image in a directory."""

    def __init__(self, home, size_bytes):
        left = [os.fspath(Path(home) / name) for name in ("mnt", "lower") if os.path.ismount(Path(home) / name)]
        if left:
            raise Failed(f"a run that was killed has left {' and '.join(left)} mounted")
        self.image = Path(home) / "device.img"
        self.path = None
        self.image.unlink(missing_ok=True)
        with open(self.image, "wb") as file:
            file.truncate(size_bytes)

    def attach(self):
        self.path = run("losetup", "--direct-io=on", "-f", "--show", self.image).strip()
        return self.path

    def detach(self):
        if self.path:
            run("losetup", "-d", self.path)
            self.path = None

    def bytes_read(self):
        """So many since it was attached."""
        stat = Path("/sys/block") / Path(self.path).name / "stat"
        return int(stat.read_text().split()[2]) * 512

    def clear(self):
        """Gives the image's blocks back, so that every filesystem begins on the same."""
        size = self.image.stat().st_size
        os.truncate(self.image, 0)
        os.truncate(self.image, size)

    def remove(self):
        self.detach()
        self.image.unlink(missing_ok=True)


def drop_pages(path):
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Filesystem:
    """make, mount, unmount, in that order; `dir` is where files go."""

    name = None
    caches = "unmounted and mounted again"
    rows_of = None  # it runs the rows of another's name
    max_files = None  # more than this it can't hold open or cached

    def __init__(self, device, home, settings):
        self.device = device
        self.settings = settings
        self.dir = Path(home) / "mnt"
        self.dir.mkdir(exist_ok=True)

    @classmethod
    def missing(cls, settings):
        """Why this filesystem can't run here, or None."""
        return None

    def make(self):
        self.device.clear()
        self.device.attach()
        self.format()

    def cold(self):
        self.unmount()
        self.device.detach()
        self.device.attach()
        self.mount()

    def settle(self):
        """Everything written so far gets to where it will stay."""
        run("sync", "-f", self.dir)

    def heat(self, path):
        """Reads a file until no more is done for such that are read often."""

    def forget(self, path):
        """Drops what is cached of one file that has been read a moment ago."""
        drop_pages(path)

    def destroy(self):
        self.unmount()
        self.device.detach()

    def format(self):
        raise NotImplementedError

    def mount(self):
        run("mount", *self.mount_options(), self.device.path, self.dir)

    def mount_options(self):
        return []

    def unmount(self):
        if os.path.ismount(self.dir):
            run("umount", self.dir)


class Ext4(Filesystem):
    name = "ext4"

    def format(self):
        run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
            "-i", "8192", self.device.path)


class Btrfs(Filesystem):
    name = "btrfs"

    @classmethod
    def missing(cls, settings):
        return None if shutil.which("mkfs.btrfs") else "mkfs.btrfs (btrfs-progs) is not in PATH"

    def format(self):
        run("mkfs.btrfs", "-q", "-f", "-K", "-m", "single", self.device.path)

    def mount_options(self):
        return ["-o", "compress=zstd:3"]


class Stacked(Ext4):
    """A FUSE filesystem whose files lie in an ext4 on the device."""

    def __init__(self, device, home, settings):
        super().__init__(device, home, settings)
        self.lower = Path(home) / "lower"
        self.lower.mkdir(exist_ok=True)
        self.daemon = None

    def mount(self):
        run("mount", self.device.path, self.lower)
        self.start()

    def unmount(self):
        if os.path.ismount(self.dir):
            self.stop()
        elif self.daemon:
            self.daemon.terminate()
        if self.daemon:
            self.daemon.wait(timeout=60)
            self.daemon = None
        if os.path.ismount(self.lower):
            run("umount", self.lower)

    def serve(self, *argv):
        """Runs a daemon in the foreground until it has mounted."""
        with open(self.lower.parent / f"{self.name}.log", "ab") as log:
            self.daemon = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL,
                                           stdout=log, stderr=log)
        until(lambda: os.path.ismount(self.dir) or self.daemon.poll() is not None,
              f"{self.name} has mounted")
        if self.daemon.poll() is not None:
            raise Failed(f"{self.name} ended instead of mounting: see {log.name}")


class Passthrough(Stacked):
    name = "passthrough"
    max_files = 15000  # one descriptor per inode it knows

    @classmethod
    def missing(cls, settings):
        if cls.find(settings):
            return None
        return (f"{settings.passthrough} can't be run" if settings.passthrough else
                "passthrough_hp, an example of libfuse's, is not in PATH: --passthrough says where it is")

    @staticmethod
    def find(settings):
        return shutil.which(settings.passthrough or "passthrough_hp")

    def start(self):
        source = self.lower / "files"
        source.mkdir(exist_ok=True)
        self.serve(self.find(self.settings), "--foreground", "-o", "allow_other", source, self.dir)

    def stop(self):
        run("umount", self.dir)

    def settle(self):
        run("sync", "-f", self.lower)


class Foldfs(Stacked):
    name = "foldfs"
    caches = "unmounted and mounted again, block cache removed"
    switch = Path("/sys/module/fuse/parameters/enable_uring")
    offered = switch.exists() and switch.read_text().strip() == "Y"
    # only then, as revisions that bench/regress runs may not know the option
    transport = "transport=dev" if offered else ""

    def __init__(self, device, home, settings):
        super().__init__(device, home, settings)
        self.pool = self.lower / "pool"
        self.row_options = ""

    @property
    def pid(self):
        return self.daemon.pid

    def program(self, name):
        return Path(self.settings.build) / name

    def start(self):
        if not self.pool.exists():
            run(self.program("mkfs.foldfs"), "-q",
                *(["-o", self.settings.mkfs_options] if self.settings.mkfs_options else []), self.pool)
        options = ",".join(filter(None, ["log_level=warning", self.transport, self.settings.options,
                                        self.row_options]))
        self.serve(self.program("mount.foldfs"), "--foreground", "-o", options, self.pool, self.dir)

    def stop(self):
        run(self.program("umount.foldfs"), self.dir)

    def cold(self):
        self.unmount()
        run("mount", self.device.path, self.lower)
        shutil.rmtree(self.pool / "cache", ignore_errors=True)
        (self.pool / "cache").mkdir()
        run("umount", self.lower)
        self.device.detach()
        self.device.attach()
        self.mount()

    def cold_with(self, options):
        """Until the next such call mounted with other options, nothing cached."""
        self.row_options = options
        self.cold()

    def settle(self):
        self.foldfs("sync", "--destage")

    def heat(self, path):
        """Reads until the kernel reads a copy."""
        def opens():
            return self.stats()["hot"]["opens"]

        before = opens()
        while opens() == before:
            path.read_bytes()
            time.sleep(0.1)

    def forget(self, path):
        for copy in (self.pool / "staging").iterdir():
            drop_pages(copy)

    def foldfs(self, *words):
        return run(self.program("foldfs"), *words, self.dir)

    def df(self):
        return run_json(self.program("foldfs"), "df", "--json", self.dir)

    def stats(self):
        return run_json(self.program("foldfs"), "stats", "--json", self.dir)


class FoldfsRings(Foldfs):
    """The same with requests over io_uring."""

    name = "foldfs-rings"
    transport = "transport=io_uring"

    @classmethod
    def missing(cls, settings):
        return None if cls.offered else f"{cls.switch} is not Y"


class Floor(Stacked):
    """A FUSE filesystem of one directory in memory that does nothing else: what round trips cost."""

    name = "floor"
    options = "allow_other"
    max_files = 1_000_000

    @classmethod
    def missing(cls, settings):
        given = settings.floor
        return f"{given} can't be run" if given and not shutil.which(given) else None

    def start(self):
        source = self.lower / "files"
        source.mkdir(exist_ok=True)
        program = self.settings.floor or probe(self.settings.build, "floor")
        self.serve("env", f"FO={self.options}", program, self.dir, source, "memory")

    def stop(self):
        run("umount", self.dir)

    def settle(self):
        pass


class FloorRings(Floor):
    """The same over io_uring, by libfuse's own transport."""

    name = "floor-rings"
    options = "allow_other,io_uring"

    @classmethod
    def missing(cls, settings):
        return super().missing(settings) or FoldfsRings.missing(settings)


class ZfsFuse(Filesystem):
    """zfs-fuse with deduplication; its programs may lie below a directory of their own."""

    name = "zfs-fuse"
    caches = "pool exported and imported again"
    pool = "foldbench"

    @classmethod
    def missing(cls, settings):
        lacking = [name for name in ("zfs-fuse", "zpool", "zfs") if not cls.find(settings, name)]
        advice = (f", nor below {settings.zfs_fuse}" if settings.zfs_fuse else
                  ": --zfs-fuse says where the package is unpacked")
        return f"{', '.join(lacking)} of the package zfs-fuse is not in PATH{advice}" if lacking else None

    @staticmethod
    def find(settings, name):
        for place in ["sbin", "usr/sbin", "bin"]:
            if settings.zfs_fuse and (Path(settings.zfs_fuse) / place / name).exists():
                return Path(settings.zfs_fuse) / place / name
        return shutil.which(name)

    def environ(self):
        """Libraries may have been unpacked beside the programs."""
        found = Path(self.settings.zfs_fuse or "/").glob("lib/*/libfuse.so.2")
        return {**os.environ, "LD_LIBRARY_PATH": os.fspath(next(found, Path("/none")).parent)}

    def tool(self, name, *words):
        return run(self.find(self.settings, name), *words, env=self.environ())

    def format(self):
        Path("/var/run/zfs").mkdir(parents=True, exist_ok=True)
        with open(self.dir.parent / "zfs-fuse.log", "ab") as log:
            self.daemon = subprocess.Popen(
                [self.find(self.settings, "zfs-fuse"), "--no-daemon", "--no-kstat-mount"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environ())
        time.sleep(3)
        self.tool("zpool", "create", "-f", "-m", self.dir, self.pool, self.device.path)
        self.tool("zfs", "set", "dedup=on", self.pool)
        self.tool("zfs", "set", "compression=on", self.pool)

    def mount(self):
        if not os.path.ismount(self.dir):
            self.tool("zpool", "import", "-d", "/dev", self.pool)
            until(lambda: os.path.ismount(self.dir), "zfs-fuse has mounted")

    def unmount(self):
        if os.path.ismount(self.dir):
            until(self.export, "the pool could be exported")

    def export(self):
        try:
            self.tool("zpool", "export", self.pool)
        except Failed:  # busy for a moment after use
            time.sleep(1)
        return not os.path.ismount(self.dir)

    def settle(self):
        os.sync()

    def destroy(self):
        self.unmount()
        self.daemon.terminate()
        self.daemon.wait(timeout=60)
        self.device.detach()


ALL = [Ext4, Btrfs, Passthrough, ZfsFuse, Floor, FloorRings, Foldfs, FoldfsRings]
