# SPDX-License-Identifier: MIT
"""Pools of the present format, made once and kept: what they hold must come out, whatever the code
becomes. Who changes the format on purpose makes them anew, see README.md."""

import hashlib
import re

import pytest

import env
import goldens
from transcript import Transcript

FORMATS = goldens.HERE / "formats"


@pytest.mark.parametrize("name", goldens.NAMES)
def test_everything_comes_out(golden, place, name):
    """Twice: the first mount replays what a killed daemon has left."""
    wanted = goldens.expected(name)
    said = Transcript(goldens.copy(golden(name), place), place / "mnt")
    for _ in range(2):
        assert said.fsck("-n", "-v", "-f") == 0, said.text()
        found = said.look(wanted)
        assert found is not None, said.text()
        assert goldens.differences(wanted, found) == [], said.text()
    assert "note:" not in said.text() or name.startswith("killed"), said.text()


@pytest.mark.parametrize("name", goldens.NAMES)
def test_life_goes_on(golden, place, name):
    """What is stored is found again by who writes the same, read by scrub, and moved by gc."""
    wanted = goldens.expected(name)
    pool, mount = goldens.copy(golden(name), place), place / "mnt"
    mount.mkdir()
    env.run(env.binary("mount.foldfs"), pool, mount, "-o",
            f"{goldens.MOUNT_OPTIONS},log={place / 'log'}")
    for path, facts in wanted.items():
        if facts.get("size", 0) > 10000 and "data" in facts:
            (mount / "again").write_bytes((mount / path).read_bytes())
            (mount / path).unlink()
            (mount / "again").rename(mount / path)
    for command in (["sync", "--destage"], ["gc"], ["scrub"]):
        env.run(env.binary("foldfs"), *command, mount)
    found = goldens.manifest(mount)
    env.run(env.binary("umount.foldfs"), mount)
    assert found.keys() == wanted.keys()
    assert all(found[path].get("data") == wanted[path].get("data") for path in wanted)
    env.run(env.binary("fsck.foldfs"), "-n", "-f", pool)


@pytest.mark.parametrize("name", goldens.NAMES)
def test_a_read_only_mount_shows_it_too(golden, place, name):
    """And leaves the pool's files as they are, the log among them."""
    pool, wanted = goldens.copy(golden(name), place), goldens.expected(name)
    before, mount = contents(pool), place / "mnt"
    mount.mkdir()
    env.run(env.binary("mount.foldfs"), pool, mount, "-o", f"ro,noatime,log={place / 'log'}")
    found = goldens.manifest(mount)
    env.run(env.binary("umount.foldfs"), mount)
    assert goldens.differences(wanted, found) == []
    assert contents(pool) == before


def contents(pool):
    return {str(path.relative_to(pool)): hashlib.blake2b(path.read_bytes()).hexdigest()
            for path in pool.rglob("*") if path.is_file() and path.name != "lock.mdb"}


def declarations(path):
    """A digest of what a header declares: comments and layout do not count."""
    code = re.sub(r"/\*.*?\*/|//[^\n]*", " ", path.read_text(), flags=re.S)
    return hashlib.blake2b(" ".join(code.split()).encode(), digest_size=8).hexdigest()


def test_the_format_is_that_of_the_golden_pools():
    """A change to a *_format.h wants a decision: what becomes of the pools that people have?"""
    headers = sorted(path for folder in ("base", "index", "store", "fs")
                     for path in (env.SOURCE / folder).glob("*_format.h"))
    now = "".join(f"{declarations(path)} {path.relative_to(env.SOURCE)}\n" for path in headers)
    assert now == FORMATS.read_text(), (
        "the format on disk has changed: change foldfs-format(5) and the golden pools with it as "
        f"tests/golden/README.md says, then let tests/golden/formats be\n{now}")
