# SPDX-License-Identifier: MIT
"""Running other programs, and what the machine says about processes."""

import argparse
import contextlib
import json
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]


class Failed(Exception):
    """A command ended badly; the message says which and what it said."""


def program(name, main):
    """Runs main(). Ctrl-C, SIGTERM and SIGHUP end it alike: what it has mounted is unmounted first. That and what it
    could not do are told in a line."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number, _):
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(signal.Signals(number).name)

    for each in signals:
        signal.signal(each, end)
    try:
        sys.exit(main())
    except KeyboardInterrupt as why:
        sys.exit(f"{name}: ended by {why}")
    except (Failed, OSError) as reason:
        sys.exit(f"{name}: {reason}")


def positive(text):
    """A number of the command line that is none below 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def counted(text):
    """A number of the command line that is none below 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return number


def run(*argv, **options):
    """Runs a command to its end and returns its output."""
    argv = [os.fspath(word) if isinstance(word, os.PathLike) else str(word) for word in argv]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, errors="replace", **options)
    if done.returncode:
        raise Failed(f"{' '.join(argv)}: status {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def run_json(*argv, **options):
    return json.loads(run(*argv, **options))


def timed(*argv, **options):
    """Seconds that a command takes."""
    begin = time.monotonic()
    run(*argv, **options)
    return time.monotonic() - begin


def say(text):
    print(time.strftime("%H:%M:%S ") + text, file=sys.stderr, flush=True)


def free_memory():
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemFree"))


def use_memory(size):
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)


@contextlib.contextmanager
def free_memory_limited(leave):
    """All memory but LEAVE bytes is held meanwhile: that is what touch_memory has to use each time."""
    size = free_memory() - leave
    with use_memory(size) if size > 0 else contextlib.nullcontext():
        yield


def touch_memory():
    """Uses free memory once. The host of a virtual machine may take back what is free and give each page anew
    when it is next used, which fills the page cache ten times as slowly: whoever came then would pay for that."""
    use_memory(free_memory() * 9 // 10).close()


def until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"waited {seconds} s in vain until {what}")
        time.sleep(0.02)


def probe(build, name):
    """Path of a program of bench/probes, built if it is not there yet."""
    return built(build, f"bench/probes/probe_{name}")


def micro(build, name):
    """The same of bench/micro."""
    return built(build, f"bench/micro/bench_{name}")


def built(build, target):
    if not (Path(build) / target).exists():
        run("ninja", "-C", build, target)
    return Path(build) / target


def peak_memory(*argv):
    """Runs a command, which must succeed; the most bytes it had resident."""
    child = subprocess.Popen([os.fspath(word) for word in argv], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise Failed(f"{argv[0]} ended with status {child.returncode}")
    return usage.ru_maxrss * 1024


def disk_usage(*paths):
    """Allocated bytes of files and trees, names that are linked twice counted once."""
    return sum(int(line.split()[0]) for line in run("du", "-s", "-B1", *paths).splitlines())


class Memory(threading.Thread):
    """Watches a process: peaks of its anonymous and file-mapped memory, in bytes.

    VmHWM alone would count the mapped block cache; RssAnon has no high-water mark of its own, so it
    is looked at every 20 ms.
    """

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.status = f"/proc/{pid}/status"
        self.peak = {"RssAnon": 0, "RssFile": 0, "VmHWM": 0}
        self.done = threading.Event()
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        self.start()

    def look(self):
        try:
            with open(self.status) as file:
                for line in file:
                    name = line.split(":")[0]
                    if name in self.peak:
                        value = int(line.split()[1]) * 1024
                        self.peak[name] = max(self.peak[name], value)
        except OSError:
            self.done.set()

    def run(self):
        while not self.done.wait(0.02):
            self.look()

    def stop(self):
        self.look()
        self.done.set()
        self.join()
        return self.peak
