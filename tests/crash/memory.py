# SPDX-License-Identifier: MIT
"""One allocation of a program fails (memfault.c), on each path to one in turn: the daemon under the
workload of faults.py, the daemon that recovers a pool whose last one was killed, and fsck.foldfs.

What must hold: the program does not die of it; who asked gets an error that fits, or what they asked
for; what was acknowledged is there afterwards; the pool is sound, and mounts again.
"""

import errno
import multiprocessing
import shutil

import env
import faults
import power
from disks import Served, fsck

FITTING = (errno.ENOMEM, errno.EIO, errno.EROFS)


def live(pool, home, environ):
    return faults.live(pool, home, environ)


def recover(pool, home, environ):
    """Mounts it, looks at everything, unmounts it."""
    home.mkdir(parents=True)
    env.run("cp", "-a", "--sparse=always", pool, home / "pool")
    made = faults.Run()
    served = Served(home / "pool", home / "live", faults.WORKLOAD.options, environ)
    try:
        served.start()
    except AssertionError as exc:
        made.mounted, made.said = False, str(exc)
        made.status = served.bury()
        return made
    made.said = env.run("cp", "-a", served.dir, home / "copy", code=None).stderr
    made.status = faults.end(served)
    made.said += served.log_text()
    return made


def repair(pool, home, environ):
    home.mkdir(parents=True)
    env.run("cp", "-a", "--sparse=always", pool, home / "pool")
    done = env.run(env.binary("fsck.foldfs"), "-y", "-f", home / "pool", env=environ, code=None)
    return faults.Run(status=done.returncode, said=done.stderr, mounted=done.returncode <= 1)


class Scenario:
    """What is run, in copies of one pool, whose files ACTORS have written."""

    def __init__(self, run, pool, actors=(), progress=None):
        self.run, self.pool = run, pool
        self.actors, self.progress = actors, progress

    def sites(self, home):
        """All paths to an allocation, and which of each path's allocations is to fail."""
        log = home / "log"
        made = self.run(self.pool, home / "run", self.environ(log))
        self.judge(made, home / "run")
        lines = [line.split(" ") for line in log.read_text().splitlines()]
        shutil.rmtree(home)
        return [(site, nth_of(trace)) for site, *trace in lines]

    def environ(self, log, site=None, nth=1):
        log.parent.mkdir(parents=True, exist_ok=True)
        found = {"LD_PRELOAD": env.binary("tests/crash/memfault.so"), "MEMFAULT_LOG": str(log)}
        return found | ({"MEMFAULT_SITE": site, "MEMFAULT_NTH": str(nth)} if site else {})

    def judge(self, made, home):
        if made.status < 0:
            raise faults.Broken(f"it died of signal {-made.status}")
        if not made.mounted and not made.said.strip():
            raise faults.Broken(f"status {made.status}, and nobody is told why")
        ended = (errno.ENOTCONN, errno.ECONNABORTED) if made.status else ()   # libfuse gave up
        for actor in made.actors:
            if isinstance(actor.refusal, OSError) and actor.refusal.errno not in FITTING + ended:
                raise faults.Broken(f"an error that does not fit: {actor.refusal!r}")
        actors, progress = (made.actors, made.progress) if made.actors else (self.actors, self.progress)
        fsck(home / "pool", failed=True)
        with power.mounted(home / "pool", home, faults.WORKLOAD.options) as mount:
            for actor in actors:
                actor.check(mount, *progress.of.get(actor.name, (0, 0)))
        fsck(home / "pool")

    def try_site(self, home, site, nth):
        """None, or what is wrong."""
        made = faults.Run()
        try:
            made = self.run(self.pool, home / "run", self.environ(home / "log", site, nth))
            self.judge(made, home / "run")
        except Exception as exc:
            return f"{site}: {type(exc).__name__}: {exc}\n{made.said[-600:]}\n{told(home / 'log')}"
        shutil.rmtree(home)
        return None

    def try_sites(self, home, chosen, parallel=2):
        with multiprocessing.get_context("fork").Pool(parallel) as pool:
            return [text for text in pool.starmap(self.try_site, [
                (home / site, site, nth) for site, nth in chosen]) if text]


def nth_of(trace):
    """libfuse's own first allocation for a request is the one for INIT, and without it there is no mount."""
    return 1 if any(place.startswith("daemon+") for place in trace) else 2


def told(log):
    """Where the allocation that failed was made."""
    trace = log.read_text().split()[2:] if log.exists() else []
    ours = [place.removeprefix("daemon+") for place in trace if place.startswith("daemon+")]
    if not ours or not shutil.which("addr2line"):
        return " ".join(trace) or "no allocation failed"
    lines = env.run("addr2line", "-f", "-s", "-e", env.binary("mount.foldfs"), *ours).stdout.split("\n")
    return " < ".join(f"{name} {place}" for name, place in zip(lines[::2], lines[1::2]))


def killed(template, home):
    """A scenario's pool and what is in it: the daemon is killed in the middle of its work."""
    made = faults.Run(progress=power.Progress())
    made.actors = power.make_actors(faults.WORKLOAD, made.progress)
    env.run("cp", "-a", "--sparse=always", template, home / "killed")
    served = Served(home / "killed", home / "live", faults.WORKLOAD.options).start()
    faults.work(made, served)
    served.kill()
    return home / "killed", made.actors, made.progress
