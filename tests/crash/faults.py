# SPDX-License-Identifier: MIT
"""One call of the daemon fails, the N-th of all that change the pool, as a disk that is full or broken
makes it fail; the rest of a fixed workload goes on as far as it can. Then the pool is unmounted,
checked, mounted again, and shown to the oracle.

What must hold, whichever call it was:

  told       whoever asked for what failed gets an error, or it is in the log, with its cause
  truthful   what was acknowledged is there afterwards, an fsync that failed does not succeed when
             it is tried again, and no errors are made up
  careful    after an I/O error in the log or the index nothing is accepted any more
  healthy    the daemon ends by itself, the pool is sound and mounts again
"""

import errno
import multiprocessing
import random
import shutil
from dataclasses import dataclass, field

import env
import power
from disks import POOL_OPTIONS, Served, fsck

WORKLOAD = power.Workload(("smallfiles", "renamestorm", "overwriter", "rewriter", "namer", "database"),
                          steps=3, rounds=1, seed=4, tolerant=True, syncs=0,
                          options="wal_sync_interval=100ms,destage_delay=1h,gc_interval=0,"
                                  "log_level=info,reserve_size=1M,workers=1")
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "short")
CAUSES = {"EIO": "Input/output error", "ENOSPC": "No space left", "EDQUOT": "Disk quota exceeded"}
WRITES = ("write", "pwrite", "writev", "pwritev")
# Calls that only tidy up, or serve speed: nothing depends on their success, and nobody needs to know.
OPTIONAL = (("unlink", "control"), ("unlink", "wal/"), ("unlink", "reserve"), ("*", "cache/"))
# On a full disk these are tried again, smaller or later, from the beginning.
AGAIN = (("create", "staging/"), ("ftruncate", "staging/"), ("*", "reserve"), ("create", "wal/"), ("fallocate", "wal/"), ("fsync", "wal"), ("pwrite", "index/data.mdb"),
         ("writev", "index/data.mdb"), ("pwritev", "index/data.mdb"), ("fdatasync", "index/data.mdb"))
# So does gc, which then gives dead frames back where they are. Once everything is destaged, packs are its.
IN_GC = tuple((call, "packs/") for call in ("create", *WRITES))


class Broken(AssertionError):
    """A rule that a fault has shown not to hold."""


@dataclass
class Run:
    """What came of one run of the workload."""

    calls: list = field(default_factory=list)   # (call, path)
    fault: tuple = None     # of them
    mounted: bool = True
    status: int = 0         # the daemon's
    said: str = ""          # on standard error, and in its log
    actors: list = field(default_factory=list)
    progress: object = None
    writable: bool = False  # at the end
    synced: bool = False    # `foldfs sync` succeeded


def make_pool(home):
    env.run(env.binary("mkfs.foldfs"), "-o", POOL_OPTIONS, home / "template")
    return home / "template"


def run(template, home, at=0, error="EIO"):
    """Runs the workload in a copy of the pool, with call AT failing."""
    environ = {"LD_PRELOAD": env.binary("tests/crash/callfault.so"), "CALLFAULT_ROOT": str(home / "pool"),
               "CALLFAULT_LOG": str(home / "calls"), "CALLFAULT_ERROR": error}
    if at:
        environ["CALLFAULT_AT"] = str(at)
    made = live(template, home, environ)
    read_calls(made, home / "calls")
    return made


def live(template, home, environ):
    """Runs the workload in a copy of the pool, by a daemon with this environment."""
    home.mkdir(parents=True)
    env.run("cp", "-a", "--sparse=always", template, home / "pool")
    made = Run(progress=power.Progress())
    made.actors = power.make_actors(WORKLOAD, made.progress)
    served = Served(home / "pool", home / "live", WORKLOAD.options, environ)
    try:
        served.start()
    except AssertionError as exc:
        made.mounted, made.said = False, str(exc)
        made.status = served.bury()
    else:
        work(made, served)
        made.status = end(served)
        made.said += served.log_text()
    return made


def work(made, served):
    """Two rounds, with destage between and gc behind."""
    chooser = random.Random(WORKLOAD.seed)
    power.take_turns(made.actors, served.dir, WORKLOAD, chooser)
    content = [actor for actor in made.actors if not actor.refusal]
    for actor in content:
        actor.sync_begins()
    done = env.run(env.binary("foldfs"), "sync", "--destage", served.dir, code=None)
    made.said += done.stderr
    made.synced = done.returncode == 0
    if made.synced:
        for actor in content:
            actor.sync_ends()
    power.take_turns(content if made.synced else [], served.dir, WORKLOAD, chooser)
    made.said += env.run(env.binary("foldfs"), "gc", served.dir, code=None).stderr
    try:
        (served.dir / "probe").mkdir()
        made.writable = True
    except OSError as exc:
        made.said += str(exc)


def end(served):
    """Unmounts, unless the daemon is ending by itself; returns its status."""
    env.until(lambda: env.run("umount", served.dir, code=None).returncode == 0 or not served.alive(),
              f"{served.dir} is unmounted")
    status = served.process.wait(60 * env.SLOW)
    served.process.stderr.close()
    return status


def read_calls(made, path):
    for line in path.read_text().splitlines():
        _, call, where = line.removesuffix(" FAULT").split(" ", 2)
        made.calls.append((call, where))
        if line.endswith(" FAULT"):
            made.fault = (call, where)


def judge(made, home, error):
    """Raises Broken."""
    told(made, error)
    truthful(made, error)
    careful(made, error)
    if made.status < 0:
        raise Broken(f"the daemon died of signal {-made.status}")
    if not made.mounted and made.status == 0:
        raise Broken("the mount failed with status 0")
    healthy(made, home)


def told(made, error):
    if error == "short" or not made.fault:
        return
    call, where = made.fault
    unimportant = OPTIONAL
    if error != "EIO":
        unimportant += AGAIN + (IN_GC if made.synced else ())
    if any(c in (call, "*") and where.startswith(w) for c, w in unimportant):
        return
    refusals = [actor.refusal for actor in made.actors if actor.refusal]
    for exc in refusals:
        if isinstance(exc, OSError) and exc.errno not in (
                errno.EIO, errno.EROFS, errno.ENOSPC, getattr(errno, error)):
            raise Broken(f"an error that does not fit: {exc!r}")
    known = CAUSES[error] in made.said
    if not known and not refusals and not any(actor.shortened for actor in made.actors):
        raise Broken("nobody is told")
    hard = [exc for exc in refusals if isinstance(exc, OSError) and exc.errno in (errno.EIO, errno.EROFS)]
    if hard and not known:
        raise Broken(f"the log does not tell the cause of {hard[0]!r}")


def truthful(made, error):
    if not made.fault or made.fault[0] not in ("fsync", "fdatasync"):
        return
    for actor in made.actors:
        if actor.retried:
            raise Broken(f"{actor.name}: fsync failed with {actor.refusal!r}, and then succeeded")


def careful(made, error):
    call, where = made.fault or ("", "")
    vital = where.startswith(("wal/", "index/")) and call in WRITES + ("fsync", "fdatasync")
    if vital and error == "EIO" and made.mounted and made.writable and \
            any(actor.refusal for actor in made.actors):
        raise Broken("the pool is still written to")


def healthy(made, home):
    fsck(home / "pool", failed="The mount is read-only from now on" in made.said)
    with power.mounted(home / "pool", home, WORKLOAD.options) as mount:
        for actor in made.actors:
            actor.check(mount, *made.progress.of.get(actor.name, (0, 0)))
    fsck(home / "pool")


def points(template, home):
    """All (number, error) there are; a short write only where something is written."""
    made = run(template, home)
    judge(made, home, "")
    shutil.rmtree(home)
    return [(at, error) for at, (call, _) in enumerate(made.calls, 1) for error in ERRORS
            if error != "short" or call in WRITES]


def try_point(template, home, point):
    """None, or what is wrong."""
    at, error = point
    made = Run()
    try:
        made = run(template, home, at, error)
        judge(made, home, error)
    except Exception as exc:
        call = " ".join(made.fault or ("no call that failed",))
        return f"{at}:{error} {call}: {type(exc).__name__}: {exc}\n{made.said[-1500:]}"
    shutil.rmtree(home)
    return None


def try_points(template, home, chosen, parallel=2):
    """Texts of those that did not go well."""
    with multiprocessing.get_context("fork").Pool(parallel) as pool:
        return [text for text in pool.starmap(try_point, [
            (template, home / f"at{at}.{error}", (at, error)) for at, error in chosen]) if text]
