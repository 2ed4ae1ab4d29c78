# SPDX-License-Identifier: MIT
"""A pool and its mount, as the tests use them: made, mounted, watched, unmounted, checked."""

import glob
import json
import os
import re
import shutil
import signal
from pathlib import Path

import env

SANITIZERS = {
    "ASAN_OPTIONS": "abort_on_error=0:detect_stack_use_after_return=1:log_path={}/sanitizer",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=0:log_path={}/sanitizer",
    "TSAN_OPTIONS": "second_deadlock_stack=1:log_path={}/sanitizer",
    "LSAN_OPTIONS": "log_path={}/sanitizer",
}


def options_text(options):
    """-o text of {name: value}; True stands for the bare word, None for absence."""
    words = []
    for name, value in options.items():
        if value is not None:
            words.append(name if value is True else f"{name}={value}")
    return ",".join(words)


class Pool:
    """A pool directory; reports of sanitizers and the log lie beside it."""

    def __init__(self, home, **options):
        self.home = Path(home)
        self.path = self.home / "pool"
        self.environ = dict(os.environ)
        for name, value in SANITIZERS.items():
            self.environ[name] = ":".join(filter(None, [os.environ.get(name),
                                                        value.format(self.home)]))
        if not env.REFERENCE:
            self.mkfs(**options)

    def run(self, name, *args, **more):
        return env.run(env.binary(name), *args, env=self.environ, **more)

    def count_calls(self, folder, **environ):
        """The next daemon's calls below a folder of the pool are counted, in the file that this returns
        (tests/crash/callfault.c)."""
        log = self.home / "calls"
        log.write_text("")
        self.environ.update({"LD_PRELOAD": env.binary("tests/crash/callfault.so"),
                             "CALLFAULT_ROOT": os.fspath(self.path / folder), "CALLFAULT_LOG": os.fspath(log), **environ})
        return log

    def mkfs(self, code=0, **options):
        text = options_text(options)
        return self.run("mkfs.foldfs", *(["-o", text] if text else []), self.path, code=code)

    def fsck(self, *args, code=0):
        return self.run("fsck.foldfs", *(args or ["-n"]), self.path, code=code)

    def owner(self):
        """Process that holds the pool open, or None."""
        lock = os.fspath(self.path / "lock")
        for link in glob.glob("/proc/[0-9]*/fd/*"):
            try:
                if os.readlink(link) == lock:
                    return int(link.split("/")[2])
            except OSError:
                continue
        return None

    def stored_bytes(self):
        """Bytes of packs on the backing filesystem."""
        return sum(path.stat().st_blocks * 512 for path in (self.path / "packs").rglob("*.pack")
                   if path.is_file())

    def sanitizer_reports(self):
        return {path: path.read_text(errors="replace")
                for path in sorted(self.home.glob("sanitizer.*"))}


class Mount:
    """A mounted pool. DIR is where users see it."""

    reference = False

    def __init__(self, pool, directory=None, **options):
        self.pool = pool
        self.dir = Path(directory or pool.home / "mnt")
        self.dir.mkdir(exist_ok=True)
        self.log = pool.home / "log"
        self.options = options
        self.pid = None
        self.expected_log = []
        self._log_seen = 0

    def start(self, **options):
        """Mounts; OPTIONS replace those of before one by one and stay."""
        self.options = {**self.options, **options}
        text = options_text({"log": self.log, "transport": env.TRANSPORT, **self.options})
        self.pool.run("mount.foldfs", self.pool.path, self.dir, "-o", text)
        assert is_mounted(self.dir), "mount.foldfs returned 0 and nothing is mounted"
        self.pid = self.pool.owner()
        assert self.pid, "mounted, and nobody holds POOL/lock"
        return self

    def stop(self):
        """Unmounts, waits for the daemon to let go, and looks for what it had to complain about."""
        died = self.pid is not None and not alive(self.pid)
        if is_mounted(self.dir):
            if died:
                env.run("umount", "-l", self.dir, code=None)
            else:
                self.unmount()
        if self.pid is not None:
            pid, self.pid = self.pid, None
            env.until(lambda: not alive(pid), "the daemon has ended", timeout=60)
            status = reap(pid)
            assert not died, f"the daemon died: {describe_status(status)}{self.evidence()}"
            assert status in (0, None), (
                f"the daemon ended badly: {describe_status(status)}{self.evidence()}")
            self.check_pool()
        self.check_log()

    def unmount(self):
        helper = env.BUILD / "umount.foldfs"
        if helper.exists():
            self.pool.run("umount.foldfs", self.dir)
        else:
            env.run("umount", self.dir)
            env.until(lambda: self.pool.owner() is None, "POOL/lock is free", timeout=60)
        assert not is_mounted(self.dir)

    def remount(self, **options):
        self.stop()
        return self.start(**options)

    def die(self):
        """Ends the daemon at once, as a crash would; the dead mount stays."""
        pid, self.pid = self.pid, None
        os.kill(pid, signal.SIGKILL)
        env.until(lambda: not alive(pid), "the daemon is dead")
        reap(pid)

    def kill(self):
        """The same, and clears the dead mount away."""
        self.die()
        env.run("umount", "-l", self.dir)

    def foldfs(self, *args, **more):
        return self.pool.run("foldfs", *args, **more)

    def json(self, command, *args):
        return json.loads(self.foldfs(command, "--json", *(args or [self.dir])).stdout)

    def stats(self):
        return self.json("stats")

    def sync(self):
        self.foldfs("sync", self.dir)

    def destage(self):
        """Waits until everything that is closed lies in packs."""
        self.foldfs("sync", "--destage", self.dir, timeout=600)

    def gc(self):
        self.foldfs("gc", self.dir, timeout=600)

    def check_pool(self):
        """Whatever a test did, every row must agree with every other afterwards."""
        done = self.pool.run("fsck.foldfs", "-n", self.pool.path, code=None, timeout=300)
        assert done.returncode == 0, f"fsck.foldfs -n: {done.stdout}{done.stderr}"

    def expect_log(self, pattern):
        """From here on lines matching PATTERN are no failure."""
        self.expected_log.append(pattern)

    def check_log(self):
        reports = self.pool.sanitizer_reports()
        assert not reports, "\n".join(f"{path}:\n{text}" for path, text in reports.items())
        if not self.log.exists():
            return
        lines = self.log.read_text(errors="replace").splitlines()[self._log_seen:]
        self._log_seen += len(lines)
        bad = [line for line in lines
               if re.search(r"foldfs error: |[Aa]ssertion|runtime error:|Sanitizer", line)
               and not any(re.search(pattern, line) for pattern in self.expected_log)]
        assert not bad, "the daemon's log complains:\n" + "\n".join(bad)

    def evidence(self):
        """Tail of the log and the backtrace of a core file, for a failure's message."""
        text = ""
        if self.log.exists():
            text += "\nlog:\n" + "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])
        for report in self.pool.sanitizer_reports().values():
            text += "\n" + report
        for core in glob.glob(f"{self.pool.home}/core*") + glob.glob(f"{self.pool.path}/core*"):
            if shutil.which("gdb"):
                text += env.run("gdb", "-batch", "-ex", "thread apply all bt",
                                env.binary("mount.foldfs"), core, code=None).stdout
        return text


def stop_all(mounts):
    """Stops every mount, also after one failed to, and then fails with the first failure."""
    failures = []
    for mount in reversed(mounts):
        try:
            mount.stop()
        except Exception as exc:
            failures.append(exc)
            if is_mounted(mount.dir):
                env.run("umount", "-l", mount.dir, code=None)
    if failures:
        raise failures[0]


class ReferenceMount(Mount):
    """A plain directory in the place of a mount."""

    reference = True

    def start(self, **options):
        return self

    def stop(self):
        os.sync()

    def sync(self):
        pass

    def destage(self):
        pass

    def gc(self):
        pass


def is_mounted(directory):
    """Also where only the user who mounted it may look, and where nobody answers any more."""
    name = os.fspath(directory).replace("\\", "\\134").replace(" ", "\\040")
    return any(line.split()[4] == name for line in Path("/proc/self/mountinfo").read_text().splitlines())


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def reap(pid):
    """Wait status of the daemon, which became our child when its parent ended (see conftest)."""
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return None


def describe_status(status):
    if status is None:
        return "status unknown"
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"status {os.WEXITSTATUS(status)}"
