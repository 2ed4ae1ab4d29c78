# SPDX-License-Identifier: MIT
"""Power cuts: a workload is recorded at the block device, then the disk of every moment is built,
mounted, and shown to the oracle.

Record            one Recording: image, log, and the actors with their histories
plan()            the crash states there are, and a choice among them
run_states()      builds and checks them, in several processes
"""

import contextlib
import errno
import math
import multiprocessing
import os
import pickle
import random
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import env
from actors import KINDS
from disks import (FLUSH, MARK, WRITE, Backing, BackingLost, Cutter, Recorder, Served, fsck,
                   read_log)
from history import Violation

MOUNT_OPTIONS = "wal_sync_interval=100ms,destage_delay=100ms,gc_interval=1s,log_level=warning"
SYNC_INTERVAL_S = 0.1
LATENESS_S = 2.0    # how much longer than the interval a busy machine may take
READ_ONLY_EVERY = 5
GROWN_MOST = 12
MODES = ("none", "all", "subset", "torn", "last")


@dataclass
class Workload:
    kinds: tuple
    steps: int = 12
    rounds: int = 2         # mounts
    seed: int = 1
    options: str = MOUNT_OPTIONS
    pause_s: float = 0.0    # idle time before each unmount, in which everything becomes durable
    environ: dict = field(default_factory=dict)
    tolerant: bool = False  # an actor ends with its first error
    syncs: float = 0.03     # chance of a `foldfs sync` after a step
    room: int = 0           # bytes that the backing filesystem has free; 0: as it is


@dataclass
class Recording:
    image: Path
    log: Path
    workload: Workload
    actors: list
    parallel: int = 2       # btrfs wants its images one at a time, as they have one uuid
    begin: int = 0          # records before this one only set the scene
    stage: object = None    # what was recorded, if it was not the workload


@dataclass(frozen=True, order=True)
class State:
    number: int
    mode: str
    seed: int = 0


class Progress:
    """Counts the marks of all actors; at the N-th, something is done."""

    def __init__(self, at=0, action=None):
        self.count, self.at, self.action = 0, at, action
        self.of = {}

    def __call__(self, text):
        name, what, op = text.split()
        done, begun = self.of.get(name, (0, 0))
        self.of[name] = (done, int(op) + 1) if what == "b" else (int(op) + 1, begun)
        self.count += 1
        if self.count == self.at:
            self.action()


def take_turns(actors, mount, workload, chooser):
    """Runs one round of all actors, in an order that the seed decides."""
    running = [actor.start(mount, workload.steps) for actor in actors]
    while running:
        steps = chooser.choice(running)
        if next(steps, running) is running:
            running.remove(steps)
        if chooser.random() < workload.syncs:
            sync_all(actors, mount)


def sync_all(actors, mount):
    """`foldfs sync`: whatever all of them have done so far is durable, if it succeeds."""
    content = [actor for actor in actors if actor.root and not actor.refusal]
    for actor in content:
        actor.sync_begins()
    worked = env.run(env.binary("foldfs"), "sync", mount, code=None).returncode == 0
    for actor in content:
        actor.sync_ends(worked)


def make_actors(workload, mark):
    actors = []
    for kind in workload.kinds:
        actor = KINDS[kind](f"{kind}{len(actors)}", mark, workload.seed)
        actor.tolerant = workload.tolerant
        actors.append(actor)
    return actors


def record(image, home, workload, checked=True):
    """Runs the workload on a recorded copy of the image. CHECKED: the daemon must end well."""
    home = Path(home)
    home.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(image, home / "blocks", home / "recorder")
    actors = make_actors(workload, recorder.mark)
    chooser = random.Random(workload.seed)
    try:
        with Backing(recorder.device, home / "backing") as backing:
            if workload.room:
                leave_room(backing.dir, workload.room)
            for _ in range(workload.rounds):
                served = Served(backing.pool, home / "live", workload.options, workload.environ).start()
                try:
                    take_turns(actors, served.dir, workload, chooser)
                    time.sleep(workload.pause_s)
                    content = [actor for actor in actors if not actor.refusal]
                    for actor in content:
                        actor.sync_begins()
                    served.unmount()
                except BaseException:
                    if served.process.poll() is None:
                        served.kill()
                    raise
                for actor in content:
                    actor.sync_ends()
    finally:
        recorder.done()
    parallel = 1 if Path(image).name.startswith("btrfs") else 2
    recording = Recording(Path(image), home / "blocks", workload, actors, parallel)
    for actor in actors:
        actor.mark = None
    with open(home / "recording.pickle", "wb") as file:
        pickle.dump(recording, file)
    return recording


def leave_room(directory, room):
    """Takes the rest of a filesystem's blocks, without writing them."""
    state = os.statvfs(directory)
    fd = os.open(directory / "filler", os.O_WRONLY | os.O_CREAT)
    os.posix_fallocate(fd, 0, state.f_bavail * state.f_frsize - room)
    os.fsync(fd)
    os.close(fd)


# ---- which states


@dataclass
class Plan:
    there: int      # states that differ in disk or in what was acknowledged
    flushes: int    # of them just before a flush, with nothing left that it would have made durable
    boundaries: int     # how many of those are chosen
    states: list


def boundaries(records):
    """Number of the last record before each flush, and of the last of all."""
    found, last = [], 0
    for number, rec in enumerate(records):
        if rec.kind == FLUSH and number:
            found.append(number - 1)
        last = number
    return found + [last]


def plan(recording, limit=None, seed=1, marked=False):
    """Every flush boundary with all that was unflushed lost, which is the hardest for what had been
    acknowledged; then the other modes there, then cuts between writes, as many as LIMIT allows.
    MARKED: none before the first operation and after the last unmount."""
    records = read_log(recording.log)
    marks = [number for number, rec in enumerate(records) if rec.kind == MARK]
    first, last = (marks[0], marks[-1]) if marked else (recording.begin, len(records))
    chooser = random.Random(seed)
    hardest, others, pending = [], [], 0
    ends = set(boundaries(records))
    for number, rec in enumerate(records):
        pending = 0 if rec.kind == FLUSH else pending + (rec.kind == WRITE)
        if not first <= number <= last:
            continue
        if number in ends:
            hardest.append(State(number, "none"))
        if pending and (number in ends or rec.kind == WRITE):
            others += [State(number, mode, chooser.getrandbits(32)) for mode in MODES[1:]]
        elif not pending and rec.kind == MARK and number not in ends:
            others.append(State(number, "none"))
    there, flushes = len(hardest) + len(others), len(hardest)
    if limit is not None and limit < there:
        most = limit - limit // 4
        hardest = hardest if len(hardest) <= most else chooser.sample(hardest, most)
        others = chooser.sample(others, limit - len(hardest))
    return Plan(there, flushes, len(hardest), sorted(hardest + others))


# ---- one state


def acknowledged(records, number, begin=0):
    """Per actor how many operations had returned and how many had begun, and when each returned; those
    before record BEGIN in a machine that has lost its power since: no time made them durable."""
    progress = {}
    for place, rec in enumerate(records[:number + 1]):
        if rec.kind == MARK:
            name, what, op = rec.text.split()
            done = progress.setdefault(name, {"d": [], "b": 0})
            if what == "b":
                done["b"] = int(op) + 1
            else:
                done["d"].append(rec.time_ns if place > begin else math.inf)
    return progress


def late_enough(progress, now_ns):
    """Operations so long ago that the log's interval must have made them durable."""
    return sum(t < now_ns - (SYNC_INTERVAL_S + LATENESS_S) * 1e9 for t in progress["d"])


def check_state(recording, records, state, pool, home):
    """Mounts the pool, asks every actor, writes a little, unmounts, checks the pool. Some are mounted
    read-only before, where the same must be seen."""
    progress = acknowledged(records, state.number, recording.begin)

    def check(mount, actors):
        for actor in actors:
            mine = progress.get(actor.name, {"d": [], "b": 0})
            least = late_enough(mine, records[state.number].time_ns)
            actor.check(mount, len(mine["d"]), mine["b"], least)

    if state.number % READ_ONLY_EVERY == 0:
        with mounted(pool, home, recording.workload.options + ",ro") as mount:
            check(mount, [actor for actor in recording.actors if actor.reads_only])
    with mounted(pool, home, recording.workload.options) as mount:
        check(mount, recording.actors)
        go_on(mount, recording.workload)
    fsck(pool)


def grow(path, more=300000):
    """What is added to a file reads as zeros, whatever once was there."""
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.truncate(size + more)
        file.seek(size)
        added = file.read()
        file.truncate(size)
    if any(added):
        first = next(at for at, byte in enumerate(added) if byte)
        raise Violation(f"{path.name} grew after the crash, and has at {size + first}, beyond its former "
                        f"end, {added[first:first + 48]!r}")


def go_on(mount, workload):
    """The pool can be used again; a full one at least to delete."""
    for path in [] if workload.room else sorted(mount.glob("*/*"))[:GROWN_MOST]:
        if path.is_file() and not path.is_symlink():
            grow(path)
    try:
        (mount / "after the crash").write_bytes(b"it goes on")
    except OSError as exc:
        if exc.errno != errno.ENOSPC or not workload.room:
            raise
    if workload.room:
        for path in list(mount.glob("*/*"))[:3]:
            path.unlink()


@contextlib.contextmanager
def mounted(pool, home, options, complains=False):
    """The pool served for a while; an exception gets the daemon's log."""
    served = Served(pool, home / "after", options, complains=complains).start()
    try:
        yield served.dir
        served.unmount()
    except BaseException as exc:
        if served.process.poll() is None:
            served.kill()
        else:
            served.bury()
        exc.add_note(served.log_text()[-2000:])
        raise


def try_state(recording, records, state, cutter, home):
    """None, how the state fails, or the BackingLost if it cannot be tried."""
    cutter.build(state.number, state.mode, state.seed)
    try:
        with Backing(cutter.out, home / "disk") as backing:
            check = recording.stage.check if recording.stage else check_state
            check(recording, records, state, backing.pool, home)
    except BackingLost as exc:
        return exc
    except Exception as exc:  # whatever it is, the other states shall be tried too
        notes = "".join(getattr(exc, "__notes__", []))
        return f"{type(exc).__name__}: {exc}\n{notes}" if str(exc) else traceback.format_exc()
    return None


# ---- many states


@dataclass
class Outcome:
    tried: int = 0
    lost: int = 0           # the backing filesystem itself did not survive
    failures: list = field(default_factory=list)   # (State, text)

    def kinds(self):
        """Failures by what they say, without numbers and names."""
        return Counter(text.splitlines()[0][:160] for _, text in self.failures)


def survive(image, home, workload, at_least, whole=True, marked=False):
    """Records the workload and fails unless every state tried survives: all flush boundaries if
    WHOLE, and at least so many states, as far as there are."""
    judge(record(image, home, workload), home, at_least, whole, marked)
    forget(home)


class Totals:
    """Of all recordings in this run; a line of the report."""

    def __init__(self):
        self.recordings = self.flushes = self.cut = self.tried = self.survived = self.there = 0

    def add(self, chosen, outcome):
        self.recordings += 1
        self.flushes += chosen.flushes
        self.cut += chosen.boundaries
        self.tried += outcome.tried
        self.survived += outcome.tried - len(outcome.failures)
        self.there += chosen.there

    def line(self):
        return (f"power cuts: {self.survived} of {self.tried} states survived, of {self.there} there are; "
                f"{self.cut} of {self.flushes} flush boundaries, {self.recordings} recordings")


TOTALS = Totals()
REPORT = []     # lines of other tests, for the end


def judge(recording, home, at_least, whole=True, marked=False):
    """Leaves the recording in HOME when it fails."""
    everything = plan(recording, marked=marked)
    limit = min(max(at_least, everything.flushes * 4 // 3 + 2 if whole else 0), everything.there)
    chosen = plan(recording, limit, marked=marked)
    outcome = run_states(recording, chosen.states, home, recording.parallel)
    TOTALS.add(chosen, outcome)
    survived = outcome.tried - len(outcome.failures)
    what = f"{recording.stage.name} after " if recording.stage else ""
    print(f"{what}{','.join(recording.workload.kinds)}: {survived} of {outcome.tried} states survived, "
          f"of {everything.there} there are, with {everything.flushes} flushes"
          + (f"; {outcome.lost} more did not leave the backing filesystem" if outcome.lost else ""))
    if outcome.failures:
        text = "\n".join(f"{s.number}:{s.mode}:{s.seed} {text}" for s, text in outcome.failures[:5])
        raise AssertionError(f"{len(outcome.failures)} of {outcome.tried} states broke a promise "
                             f"(crash.py try {home} --only STATE repeats one):\n{text}")
    assert outcome.tried + outcome.lost == len(chosen.states) and outcome.lost <= 3 + outcome.tried // 10


class Stage:
    """What is done to a pool that a power cut left, while the power goes again."""

    name = "recovery"
    actor = None        # whose work is wanted before, if not a mixture

    def prepare(self, pool):
        """Before the recording begins: damages the pool, say."""

    def run(self, recording, pool, home):
        with mounted(pool, home, recording.workload.options):
            time.sleep(1)  # what was left is destaged

    def check(self, recording, records, state, pool, home):
        check_state(recording, records, state, pool, home)


def survive_recovery(recording, state, home, at_least, whole=True, stage=None):
    """Cuts the power at a state, and again at every flush (if WHOLE) of a stage, by default while that
    is mounted and unmounted."""
    stage = stage or Stage()
    home.mkdir()
    cutter = Cutter(recording.log, recording.image, home / "image")
    cutter.build(state.number, state.mode, state.seed)
    cutter.done()
    with Backing(home / "image", home / "backing") as backing:
        stage.prepare(backing.pool)
    recorder = Recorder(home / "image", home / "blocks", home / "recorder")
    progress = acknowledged(read_log(recording.log), state.number)
    for actor in recording.actors:
        mine = progress.get(actor.name, {"d": [], "b": 0})
        for number in range(mine["b"]):
            recorder.mark(f"{actor.name} b {number}")
            if number < len(mine["d"]):
                recorder.mark(f"{actor.name} d {number}")
    try:
        with Backing(recorder.device, home / "backing") as backing:
            stage.run(recording, backing.pool, home)
    finally:
        recorder.done()
    begin = max(n for n, rec in enumerate(read_log(home / "blocks")) if rec.kind == MARK)
    again = Recording(home / "image", home / "blocks", recording.workload, recording.actors,
                      recording.parallel, begin, stage)
    with open(home / "recording.pickle", "wb") as file:
        pickle.dump(again, file)
    judge(again, home, at_least, whole)
    forget(home)


def forget(home):
    """Gives memory back."""
    for name in ("blocks", "image"):
        (Path(home) / name).unlink(missing_ok=True)


def work_through(recording, states, home, results, stop_after):
    home.mkdir(parents=True, exist_ok=True)
    records = read_log(recording.log)
    cutter = Cutter(recording.log, recording.image, home / "cut")
    failed = 0
    try:
        for state in states:
            text = try_state(recording, records, state, cutter, home)
            results.put((state, text))
            failed += isinstance(text, str)
            if stop_after and failed >= stop_after:
                break
        cutter.done()
        (home / "cut").unlink(missing_ok=True)  # there may have been no state for us
    finally:
        results.put(None)


def run_states(recording, states, home, parallel=2, stop_after=0, progress=None):
    """Checks all states; with STOP_AFTER each process stops after so many failures."""
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    for actor in recording.actors:  # worked out once, before the fork
        actor.history.lives(), actor.history.trees()
    workers = [context.Process(target=work_through, args=(
        recording, states[i::parallel], Path(home) / f"worker{i}", results, stop_after))
        for i in range(parallel)]
    for worker in workers:
        worker.start()
    outcome, running = Outcome(), parallel
    while running:
        answer = results.get()
        if answer is None:
            running -= 1
            continue
        if isinstance(answer[1], BackingLost):
            outcome.lost += 1
            continue
        outcome.tried += 1
        if answer[1]:
            outcome.failures.append(answer)
        if progress:
            progress(outcome, answer)
    for worker in workers:
        worker.join()
    return outcome
