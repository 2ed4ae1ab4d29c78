# SPDX-License-Identifier: MIT
"""A small filesystem of its own, to be filled or made read-only."""

import os

import env
import pools


class Loop:
    """An ext4 in a file, mounted."""

    def __init__(self, home, size):
        env.need_tool("mkfs.ext4", "losetup")
        self.image, self.dir = home / "image", home / "backing"
        self.dir.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(size)
        env.run("mkfs.ext4", "-q", "-m", "0", self.image)
        env.run("mount", "-o", "loop", self.image, self.dir)

    def pool(self, home, **options):
        """A pool in it for which little is enough; its log is outside."""
        made = pools.Pool(self.dir, **{"reserve_size": "16M", "cache_size": "32M", "pack_size": "16M",
                                       **options})
        made.home = home
        return made

    def avail(self):
        found = os.statvfs(self.dir)
        return found.f_bavail * found.f_frsize

    def fill(self, size=None):
        """Somebody else takes SIZE, or what is left of the disk, faster than the daemon lets its reserve go."""
        with open(self.dir / "filler", "ab") as file:
            end = file.tell() + (size if size is not None else 1 << 40)
            taken, size = file.tell(), self.avail() if size is None else size
            while size >= 4096 and taken < end:
                try:
                    os.posix_fallocate(file.fileno(), taken, size)
                    taken += size
                except OSError:
                    size //= 2

    def close(self):
        env.run("umount", self.dir, code=None)
