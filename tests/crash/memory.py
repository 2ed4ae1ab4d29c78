# SPDX-License-Identifier: MIT
"""One allocation of a program fails (memfault.c), on each path to one in turn; or one of the calls by
which it reads the pool (callfault.c). Programs are the daemon under the workload of faults.py, the daemon
that recovers a pool whose last one was killed, and fsck.foldfs on such a pool, with its index or without.

What must hold: the program does not die of it; who asked gets an error that fits, or what they asked
for; what was acknowledged is there afterwards; the pool is sound, and mounts again.
"""

import errno
import multiprocessing
import os
import random
import shutil
import sys
from functools import partial
from pathlib import Path

import env
import faults
import power
from disks import Served, fsck

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "keyframe"))

import films  # noqa: E402

FITTING = (errno.ENOMEM, errno.EIO, errno.EROFS)
TOUR_OPTIONS = ("wal_sync_interval=100ms,destage_delay=1h,gc_interval=0,tier_interval=1h,log_level=info,"
                "reserve_size=1M,materialise_after=2,materialise_min=64K")


def live(pool, home, environ):
    return faults.live(pool, home, environ)


def started(made, served):
    """Is it mounted? If not, MADE says what came of it."""
    try:
        served.start()
    except AssertionError as exc:
        made.mounted, made.said = False, str(exc)
        made.status = served.bury()
    return made.mounted


def recover(pool, home, environ):
    """Mounts it, looks at everything, unmounts it."""
    home.mkdir(parents=True)
    env.run("cp", "-a", "--sparse=always", pool, home / "pool")
    made = faults.Run()
    served = Served(home / "pool", home / "live", faults.WORKLOAD.options, environ)
    if not started(made, served):
        return made
    made.said = env.run("cp", "-a", served.dir, home / "copy", code=None).stderr
    made.status = faults.end(served)
    made.said += served.log_text()
    return made


def tour(pool, home, environ):
    """All that foldfs does with files, by whichever commands it has; in pieces, each of which may be refused."""
    home.mkdir(parents=True)
    env.run("cp", "-a", "--sparse=always", pool, home / "pool")
    (home / "warm").mkdir()
    (home / "pool" / "foldfs.conf").write_text(f"[tier warm]\nplace = {home / 'warm'}\n")
    guide = Guide(home)
    made = faults.Run(actors=[guide], progress=power.Progress())
    served = Served(home / "pool", home / "live", TOUR_OPTIONS, environ)
    if not started(made, served):
        return made
    guide.device = served.dir.stat().st_dev
    for step in guide.steps(served.dir):
        try:
            step()
        except OSError as exc:
            guide.refusal = exc
            made.said += f"{exc}\n"
    made.status = faults.end(served)
    made.said += guide.said + served.log_text()
    return made


class Guide:
    """Shows one mount around, and remembers what was acknowledged."""

    name, retried, refusal = "guide", False, None

    def __init__(self, home):
        self.home, self.kept, self.said, self.device = home, {}, "", None

    def steps(self, at):
        noise = random.Random(7).randbytes(3 << 20)
        text = b"".join(b"line %d of many\n" % i for i in range(60000))
        yield from (partial(self.store, at / name, data) for name, data in (
            ("noise", noise), ("again", noise[:2000000] + b"!" + noise[2000000:]), ("text", text),
            ("small", b"few bytes"), ("empty", b""), *films_of()))
        yield partial(self.foldfs, "sync", "--destage", at)
        yield partial(self.change, at)
        yield partial(self.foldfs, "sync", "--destage", at)
        for _ in range(3):  # so that hot files become native again
            yield partial(self.look, at)
        for command in (["tier", "move", "warm", at], ["tier", "status", at], ["du", "--media", at / "film.mp4"],
                        ["du", at], ["df", at], ["stats", at], ["scrub", at], ["warm", at], ["tier", "recall", at / "noise"]):
            yield partial(self.foldfs, *command)
        yield partial(self.look, at)
        yield partial(self.lose, at / "again")
        yield partial(self.foldfs, "gc", at)

    def foldfs(self, *argv):
        self.said += env.run(env.binary("foldfs"), *argv, code=None).stderr

    def store(self, path, data):
        with open(path, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if os.fstat(file.fileno()).st_dev != self.device:
                raise OSError(errno.ENOTCONN, "the mount has ended")
        self.kept[path.name] = data

    def change(self, at):
        """By the calls that change parts of a stored file, its attributes and its names."""
        if not {"noise", "text"} <= self.kept.keys():
            return  # they were refused
        data = bytearray(self.kept.pop("noise"))
        with open(at / "noise", "r+b") as file:
            file.seek(1000000)
            file.write(b"changed")
            file.truncate(len(data) - 5000)
            file.flush()
            copied = os.copy_file_range(file.fileno(), file.fileno(), 100000, 0, 2000000)
            os.fsync(file.fileno())
        data[1000000:1000007] = b"changed"
        del data[-5000:]
        data[2000000:2000000 + copied] = data[:copied]
        self.kept["noise"] = bytes(data)
        os.setxattr(at / "text", "user.colour", b"blue")
        os.symlink("text", at / "link")
        os.link(at / "text", at / "other")
        os.mkdir(at / "directory")
        os.rename(at / "other", at / "directory" / "other")

    def look(self, at):
        for path in sorted(at.iterdir()):
            if path.is_file():
                with open(path, "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    self.compare(path.name, file.read())

    def lose(self, path):
        if self.kept.pop(path.name, None) is not None:
            path.unlink()

    def compare(self, name, data):
        if data != self.kept.get(name, data):
            raise faults.Broken(f"{name} is not what was stored")

    def check(self, mount, *_):
        for name in self.kept:
            self.compare(name, (mount / name).read_bytes())


def films_of():
    """A film and what else may be made of it, if they can be had."""
    if not shutil.which("ffmpeg"):
        return []
    film = films.make("mp4", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25:duration=12", "-vf",
                      "noise=alls=20:allf=t", "-c:v", "libx264", "-preset", "ultrafast", "-b:v", "4M", "-g", "25")
    return [(f"film{path.suffix}", path.read_bytes()) for path in (film, films.rewrap(film, "mkv"))]


def repair(pool, home, environ):
    home.mkdir(parents=True)
    env.run("cp", "-a", "--sparse=always", pool, home / "pool")
    done = env.run(env.binary("fsck.foldfs"), "-y", "-f", home / "pool", env=environ, code=None)
    return faults.Run(status=done.returncode, said=done.stderr, mounted=done.returncode <= 1)


def restore(pool, home, environ):
    """The index is lost. What a repair that ended early has left, the next one goes on with."""
    home.mkdir(parents=True)
    env.run("cp", "-a", "--sparse=always", pool, home / "pool")
    (home / "pool" / "index" / "data.mdb").unlink()
    argv = [env.binary("fsck.foldfs"), "-y", "-f", home / "pool"]
    made = faults.Run()
    for variables in environ, None:
        done = env.run(*argv, env=variables, code=None)
        made.status, made.said = done.returncode, made.said + done.stdout + done.stderr
        if made.status < 0:
            return made
    made.mounted = made.status <= 1
    return made


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
        lines = log.read_text().splitlines()
        shutil.rmtree(home)
        return self.sites_of(lines)

    def sites_of(self, lines):
        return [(site, nth_of(trace)) for site, *trace in (line.split(" ") for line in lines)]

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
        if made.status > 1 and not made.actors and self.run is restore:
            raise faults.Broken(f"the second repair ends with status {made.status}")
        fsck(home / "pool", failed=True)
        with power.mounted(home / "pool", home, "log_level=info") as mount:
            for actor in actors:
                actor.check(mount, *progress.of.get(actor.name, (0, 0)))
        fsck(home / "pool")

    def try_site(self, home, site, nth):
        """What is wrong, or "", and whether anything had failed."""
        made = faults.Run()
        try:
            made = self.run(self.pool, home / "run", self.environ(home / "log", site, nth))
            self.judge(made, home / "run")
        except Exception as exc:
            return f"{site}: {type(exc).__name__}: {exc}\n{made.said[-600:]}\n{self.told(home / 'log')}", True
        hit = "FAULT" in (home / "log").read_text()
        shutil.rmtree(home)
        return "", hit

    def try_sites(self, home, chosen, parallel=2):
        """What try_site() says of each."""
        with multiprocessing.get_context("fork").Pool(parallel) as pool:
            return pool.starmap(self.try_site, [(home / site, site, nth) for site, nth in chosen])

    def told(self, log):
        """Where the allocation that failed was made."""
        trace = log.read_text().split()[2:] if log.exists() else []
        ours = [place.removeprefix("daemon+") for place in trace if place.startswith("daemon+")]
        if not ours or not shutil.which("addr2line"):
            return " ".join(trace) or "no allocation failed"
        program = "fsck.foldfs" if self.run in (repair, restore) else "mount.foldfs"
        lines = env.run("addr2line", "-f", "-s", "-e", env.binary(program), *ours).stdout.split("\n")
        return " < ".join(f"{name} {place}" for name, place in zip(lines[::2], lines[1::2]))


class Reads(Scenario):
    """The calls that read the pool are the sites, by number. It is an error that passes: the second time all
    can be read."""

    def environ(self, log, site=None, nth=1):
        log.parent.mkdir(parents=True, exist_ok=True)
        found = {"LD_PRELOAD": env.binary("tests/crash/callfault.so"), "CALLFAULT_READS": "1",
                 "CALLFAULT_ROOT": str(log.parent / "run" / "pool"), "CALLFAULT_LOG": str(log)}
        return found | ({"CALLFAULT_AT": site} if site else {})

    def sites_of(self, lines):
        return [(line.split(" ")[0], 1) for line in lines]

    def told(self, log):
        return "".join(line for line in log.read_text().splitlines() if line.endswith(" FAULT"))


def nth_of(trace):
    """libfuse's own first allocation for a request is the one for INIT, and without it there is no mount."""
    return 1 if any(place.startswith("daemon+") for place in trace) else 2


def killed(template, home):
    """A scenario's pool and what is in it: the daemon is killed in the middle of its work."""
    made = faults.Run(progress=power.Progress())
    made.actors = power.make_actors(faults.WORKLOAD, made.progress)
    env.run("cp", "-a", "--sparse=always", template, home / "killed")
    served = Served(home / "killed", home / "live", faults.WORKLOAD.options).start()
    faults.work(made, served)
    served.kill()
    return home / "killed", made.actors, made.progress
