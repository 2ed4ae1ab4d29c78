# SPDX-License-Identifier: MIT
"""How many requests an operation sends. Each is a round trip, and nothing else costs a small file as
much; ARCHITECTURE.md has the same table, with the reason for each request that is left.

The first of the files is not counted: it also pays for what came before. FORGET is not counted, as the
kernel gathers it; everything that is not in the table must not come at all."""

import os

import pytest

import env

pytestmark = pytest.mark.foldfs

FILES = 8
RELEASED = ("open", "create", "tmpfile")

# Requests per file with mode=auto (small files through the daemon, what is opened to read and write
# natively; written through), and what comes on top with mode=mediated, where the kernel writes back.
TABLE = {
    "create": ("getattr lookup create write release", "getxattr setattr"),
    "stat_of_the_new": ("getattr", ""),
    "stat_again": ("", ""),
    "stat_of_nothing": ("lookup", ""),
    "stat_of_nothing_again": ("", ""),
    "read": ("open read release", ""),
    "read_again": ("open release", ""),
    "rewrite": ("open getxattr write release", "getxattr setattr"),
    "append": ("open write release", "setattr"),
    "create_for_both": ("getattr getattr lookup create getxattr release", "write setattr"),
    "stat_of_both": ("getattr", ""),
    "stat_of_both_again": ("", ""),
    "read_both": ("open release", "read"),
    "read_both_again": ("open release", ""),
    "chmod": ("setattr", ""),
    "utime": ("setattr", ""),
    "link": ("getattr lookup link", "setattr"),
    "rename": ("getattr lookup rename", "setattr"),
    "rename_over": ("getattr rename lookup", "setattr setattr"),
    "unlink": ("getattr unlink", "setattr"),
    "symlink": ("getattr lookup symlink", ""),
    "readlink": ("readlink", ""),
    "readlink_again": ("", ""),
    "mkdir": ("getattr lookup mkdir", ""),
    "list_new": ("readdirplus readdirplus", ""),
    "list_again": ("getattr", ""),
    "list_filled": ("getattr readdirplus readdirplus", ""),
    "rmdir": ("getattr rmdir", ""),
}


def write(path, flags):
    fd = os.open(path, flags, 0o644)
    os.write(fd, os.urandom(4096))
    os.close(fd)


def read(path):
    fd = os.open(path, os.O_RDONLY)
    os.read(fd, 8192)
    os.close(fd)


def operations(at):
    """(name, what it does with the number of a file), in an order in which each finds its files."""
    new = os.O_CREAT | os.O_EXCL
    return [
        ("create", lambda n: write(at(f"f{n}"), new | os.O_WRONLY)),
        ("stat_of_the_new", lambda n: os.stat(at(f"f{n}"))),
        ("stat_again", lambda n: os.stat(at(f"f{n}"))),
        ("stat_of_nothing", lambda n: os.path.exists(at(f"none{n}"))),
        ("stat_of_nothing_again", lambda n: os.path.exists(at(f"none{n}"))),
        ("read", lambda n: read(at(f"f{n}"))),
        ("read_again", lambda n: read(at(f"f{n}"))),
        ("rewrite", lambda n: write(at(f"f{n}"), os.O_WRONLY | os.O_TRUNC)),
        ("append", lambda n: write(at(f"f{n}"), os.O_WRONLY | os.O_APPEND)),
        ("create_for_both", lambda n: write(at(f"b{n}"), new | os.O_RDWR)),
        ("stat_of_both", lambda n: os.stat(at(f"b{n}"))),
        ("stat_of_both_again", lambda n: os.stat(at(f"b{n}"))),
        ("read_both", lambda n: read(at(f"b{n}"))),
        ("read_both_again", lambda n: read(at(f"b{n}"))),
        ("chmod", lambda n: os.chmod(at(f"f{n}"), 0o600)),
        ("utime", lambda n: os.utime(at(f"f{n}"))),
        ("link", lambda n: os.link(at(f"f{n}"), at(f"l{n}"))),
        ("rename", lambda n: os.rename(at(f"f{n}"), at(f"r{n}"))),
        ("rename_over", lambda n: os.rename(at(f"r{n}"), at(f"b{n}"))),
        ("unlink", lambda n: os.unlink(at(f"b{n}"))),
        ("symlink", lambda n: os.symlink("target", at(f"s{n}"))),
        ("readlink", lambda n: os.readlink(at(f"s{n}"))),
        ("readlink_again", lambda n: os.readlink(at(f"s{n}"))),
        ("mkdir", lambda n: os.mkdir(at(f"d{n}"))),
        ("list_new", lambda n: os.listdir(at(f"d{n}"))),
        ("list_again", lambda n: os.listdir(at(f"d{n}"))),
        ("fill", lambda n: write(at(f"d{n}/f"), new | os.O_WRONLY)),
        ("list_filled", lambda n: os.listdir(at(f"d{n}"))),
        ("empty", lambda n: os.unlink(at(f"d{n}/f"))),
        ("rmdir", lambda n: os.rmdir(at(f"d{n}"))),
    ]


def requests_of(mount):
    """The counters, once every RELEASE has come: the kernel does not wait for it. The pool's path is
    asked for, since the mount's own would be looked up."""
    found = {}

    def all_released():
        found.update(mount.json("stats", mount.pool.path)["requests"])
        return found["release"] == sum(found[kind] for kind in RELEASED)

    env.until(all_released, "every open file is released")
    return found


def counted(mount, act):
    """{kind: requests} of act() over FILES files."""
    act(0)
    before = requests_of(mount)
    for number in range(1, FILES + 1):
        act(number)
    after = requests_of(mount)
    return {kind: after[kind] - before[kind] for kind in after
            if after[kind] != before[kind] and kind != "forget"}


@pytest.mark.parametrize("mode", ["auto", "mediated"])
def test_no_request_that_is_not_needed(new_mount, mode):
    mount = new_mount(mode=mode, destage_delay=600)
    surplus = {}
    for name, act in operations(lambda path: mount.dir / path):
        got = counted(mount, act)
        if name not in TABLE:
            continue
        always, written_back = TABLE[name]
        allowed = always.split() + (written_back.split() if mode == "mediated" else [])
        more = {kind: n / FILES for kind, n in got.items() if n > FILES * allowed.count(kind)}
        if more:
            surplus[name] = more
    assert not surplus


def test_requests_are_counted(mount):
    before = requests_of(mount)
    write(mount.dir / "f", os.O_CREAT | os.O_WRONLY)
    after = requests_of(mount)
    for kind in ("lookup", "create", "write", "release"):
        assert after[kind] == before[kind] + 1


def looked_up(mount, act):
    before = requests_of(mount)
    act()
    return requests_of(mount)["lookup"] - before["lookup"]


def test_who_asks_for_names_it_was_given_is_given_more(mount):
    """find, du, rsync and tar read a directory's names first and ask for each then. Names alone are given as long as
    that is all that is wanted: the kernel keeps an inode for each that comes with attributes."""
    files = 2000
    for name in ("first", "second"):
        (mount.dir / name).mkdir()
        for number in range(files):
            (mount.dir / name / f"f{number}").touch()
    mount.remount()

    def list_and_ask(directory):
        here = os.open(directory, os.O_RDONLY)
        for name in os.listdir(here):
            assert os.stat(name, dir_fd=here).st_size == 0
        os.close(here)

    assert looked_up(mount, lambda: list_and_ask(mount.dir / "first")) > files / 2
    assert looked_up(mount, lambda: list_and_ask(mount.dir / "second")) < files / 20
