# SPDX-License-Identifier: MIT
"""Small pools with something of everything in them: content in packs, in memory's rows, in staging,
names of all kinds; left by an unmount, or by a daemon that was killed."""

import os
import random
from pathlib import Path

import env
from disks import Served

POOL_OPTIONS = "reserve_size=0,cache_size=4M,pack_size=4M"
OPTIONS = "wal_sync_interval=100ms,destage_delay=1h,gc_interval=0,log_level=warning"


def content(tag, length):
    """The same bytes for the same tag; half of them compress."""
    chooser = random.Random(tag)
    return b"".join(chooser.randbytes(512) + f"<{tag}>".encode().ljust(512, b".")
                    for _ in range(length // 1024 + 1))[:length]


def fill(mount):
    """What is destaged."""
    for name, length in (("small", 300), ("middle", 30000), ("large", 400000), ("twin", 30000)):
        (mount / name).write_bytes(content("middle" if name == "twin" else name, length))
    for i in range(30):
        directory = mount / f"dir{i % 3}"
        directory.mkdir(exist_ok=True)
        (directory / f"file{i}").write_bytes(content(f"file{i}", 100 + 37 * i))
    (mount / "link").symlink_to("dir0/file0")
    os.link(mount / "small", mount / "dir1" / "hard")
    os.setxattr(mount / "large", "user.note", b"seen " * 20)
    with open(mount / "sparse", "wb") as file:
        file.seek(200000)
        file.write(content("end", 5000))


def go_on(mount):
    """What comes after destage: overwrites, rows in the log, content in staging."""
    (mount / "dir0" / "file3").unlink()
    (mount / "dir0" / "file6").rename(mount / "renamed")
    (mount / "later").write_bytes(content("later", 2000))
    with open(mount / "large", "r+b") as file:
        file.seek(100000)
        file.write(content("over", 9000))
    fd = os.open(mount / "native", os.O_RDWR | os.O_CREAT)
    os.write(fd, content("native", 20000))
    os.fsync(fd)
    os.close(fd)


def make(home, killed=False, options=POOL_OPTIONS):
    """Returns the pool's path. KILLED: its log is still to be replayed."""
    home = Path(home)
    home.mkdir(parents=True, exist_ok=True)
    pool = home / "pool"
    env.run(env.binary("mkfs.foldfs"), "-o", options, pool)
    served = Served(pool, home / "live", OPTIONS).start()
    fill(served.dir)
    env.run(env.binary("foldfs"), "sync", "--destage", served.dir)
    for path in served.dir.rglob("*"):
        if path.is_file():
            path.read_bytes()  # into the cache
    if killed:
        served.unmount()
        served.start()
    go_on(served.dir)
    if killed:
        env.run(env.binary("foldfs"), "sync", served.dir)
        (served.dir / "last").mkdir()  # what is synced after all else says that all else was synced
        env.run(env.binary("foldfs"), "sync", served.dir)
        served.kill()
    else:
        served.unmount()
    return pool
