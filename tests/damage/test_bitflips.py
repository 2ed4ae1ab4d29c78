# SPDX-License-Identifier: MIT
"""Single bits of a pool's files are flipped: noticed or harmless, never wrong bytes, a crash or a hang."""

import os
import random
import stat
import subprocess
from pathlib import Path

import pytest

import env
import pools
from disks import Served

FLIPS = int(os.environ.get("FOLDFS_FLIPS", "10000"))
MOUNTS = 60


@pytest.fixture(scope="module")
def clean(ram):
    return pools.make(ram / "clean")


@pytest.fixture(scope="module")
def killed(ram):
    return pools.make(ram / "killed", killed=True)


def flip(pool, count, seed, report, kind):
    """What each verdict means, and what decides it, stands in bitflip.c."""
    done = subprocess.run([env.binary("tests/damage/bitflip"), pool, str(count), str(seed)],
                          stdout=subprocess.PIPE, text=True)
    lines = done.stdout.splitlines()
    assert lines and lines[-1].startswith(f"{count} "), "bitflip failed"
    report += [f"bit flips, {kind} pool: {line.lstrip('= ')}" for line in lines
               if line.startswith("= ") or line == lines[-1]]
    serious = [line for line in lines[:-1] if not line.startswith("= ")]
    assert not serious and done.returncode == 0, "\n".join(serious[:20])
    tail = sum(int(words[words.index("tail") + 1]) for words in map(str.split, lines[:-1])
               if "tail" in words)
    assert kind == "killed" or not tail, "a log that was closed has an end that is known"


def test_flips_in_a_clean_pool(clean, report):
    flip(clean, 300, 1, report, "clean")


def test_flips_in_a_killed_pool(killed, report):
    flip(killed, 30, 1, report, "killed")


@pytest.mark.full
def test_many_flips(clean, killed, report):
    flip(clean, FLIPS - FLIPS // 10, 2, report, "clean")
    flip(killed, FLIPS // 10, 2, report, "killed")


def files_of(pool):
    """Not staging, which nothing guards."""
    guarded = ("super", "cache", "packs", "wal", "foldfs.conf", "index")
    return [path for path in sorted(pool.rglob("*"))
            if path.is_file() and path.stat().st_size and path.name != "lock.mdb"
            and path.relative_to(pool).parts[0] in guarded]


def flip_in(path, chooser):
    data = path.read_bytes().rstrip(b"\0")
    at = chooser.randrange(len(data) or 1)
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << chooser.randrange(8)]))
    return at


def tree(mount):
    """Path -> content, or None where it cannot be read."""
    found = {}
    for directory, _, names in os.walk(mount):
        for path in (Path(directory, name) for name in names):
            try:
                if stat.S_ISREG(path.lstat().st_mode):
                    found[path.relative_to(mount)] = path.read_bytes()
            except OSError:
                found[path.relative_to(mount)] = None
    return found


@pytest.mark.parametrize("kind", ["clean", "killed"])
def test_flips_below_a_mount(ram, request, kind, report):
    """The daemon itself, reading and writing over what is damaged."""
    original = request.getfixturevalue(kind)
    chooser, refused, unread = random.Random(3), 0, 0
    whole = look(ram, original, "whole")[0]
    for i in range(MOUNTS // 2):
        pool = ram / "flipped"
        env.run("rm", "-rf", pool)
        env.run("cp", "-a", "--sparse=always", original, pool)
        path = chooser.choice(files_of(pool))
        at = flip_in(path, chooser)
        where = f"{path.relative_to(pool)} byte {at}"
        found, log = look(ram, pool, "flipped-mount")
        if found is None:
            refused += 1
            assert log.strip(), f"{where}: refused without a word"
            continue
        if path.parent.name == "wal" and kind == "killed":
            continue    # may look like a write that a power cut tore: an earlier state, see flip()
        for name, content in found.items():
            assert content is None or content == whole.get(name), f"{where}: {name} has other bytes"
        unread += any(content is None for content in found.values())
        if kind == "clean":
            assert set(found) == set(whole) or "damage" in log, f"{where}: files are missing"
    report.append(f"bit flips below a mount, {kind} pool: {MOUNTS // 2} tried, {refused} refused, "
                  f"{unread} with unreadable files, the rest as before")


def look(ram, pool, name):
    """What a mount shows, or None, and what it said. It ends well whatever it finds."""
    copy = pool
    if name == "whole":
        copy = ram / "copy"
        env.run("rm", "-rf", copy)
        env.run("cp", "-a", "--sparse=always", pool, copy)
    served = Served(copy, ram / name, pools.OPTIONS)
    try:
        served.start()
    except AssertionError as exc:
        assert served.bury() >= 0, "the daemon died of a signal"
        return None, str(exc)
    try:
        found = tree(served.dir)
        try:
            (served.dir / "new").write_bytes(b"new")
        except OSError:
            pass
        env.run("umount", served.dir)
        assert served.process.wait(60 * env.SLOW) >= 0, "the daemon died of a signal"
        served.process.stderr.close()
    except BaseException:
        served.kill() if served.alive() else served.bury()
        raise
    return found, served.log_text()
