# SPDX-License-Identifier: MIT
"""What the programs say of a damaged pool, and what a mount of it shows, as text to compare."""

import os
import re

import env
import goldens

LINES_MAX = 12
LOG_TIME = re.compile(r"^[0-9-]+ [0-9:.]+ ")


class Transcript:
    """Lines; those with a $ are what was done, what follows is what came of it."""

    def __init__(self, pool, mount):
        self.pool, self.mount = pool, mount
        self.lines = []

    def text(self):
        return "\n".join(self.lines) + "\n"

    def plain(self, line):
        return line.replace(str(self.mount), "DIR").replace(str(self.pool), "POOL")

    def add(self, lines, most=LINES_MAX):
        lines = [self.plain(line) for line in lines]
        self.lines += lines[:most]
        if len(lines) > most:
            self.lines.append(f"... and {len(lines) - most} more lines")

    def run(self, name, *words):
        """Returns the status."""
        done = env.run(env.binary(name), *words, code=None)
        self.lines.append(f"$ {self.plain(' '.join([name, *map(str, words)]))}: "
                          f"status {done.returncode}")
        self.add(done.stdout.splitlines() + done.stderr.splitlines())
        return done.returncode

    def fsck(self, option, *more):
        return self.run("fsck.foldfs", option, *more, self.pool)

    def look(self, wanted):
        """Mounts, says what is not as it was, unmounts. Returns what the mount shows, or None."""
        log = self.mount.with_suffix(".log")
        log.unlink(missing_ok=True)
        self.mount.mkdir(exist_ok=True)
        argv = [self.pool, self.mount, "-o", f"{goldens.MOUNT_OPTIONS},log={log}"]
        done = env.run(env.binary("mount.foldfs"), *argv, code=None)
        self.lines.append(f"$ mount.foldfs POOL DIR: status {done.returncode}")
        self.add((done.stdout + done.stderr).splitlines())
        if done.returncode:
            assert not os.path.ismount(self.mount)
            return None
        try:
            found = goldens.manifest(self.mount)
        finally:
            ended = env.run(env.binary("umount.foldfs"), self.mount, code=None)
        self.add([f"shown: {line}" for line in goldens.differences(wanted, found)]
                 or ["shown: everything, as it was"])
        self.add((ended.stdout + ended.stderr).splitlines())
        self.add(sorted({"log: " + LOG_TIME.sub("", line) for line in log.read_text().splitlines()}))
        return found
