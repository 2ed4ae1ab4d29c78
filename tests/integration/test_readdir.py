# SPDX-License-Identifier: MIT
"""Listing directories: completely, once each, while they change, and at any size."""

import os
import random
import stat

import pytest

import env
from syscalls import DirStream

pytestmark = pytest.mark.asan


def fill(path, count):
    names = [b"name-%06d" % number for number in range(count)]
    here = os.open(path, os.O_RDONLY)
    for name in names:
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    return names


def test_dot_entries_and_types(work, settle):
    (work / "f").touch()
    (work / "d").mkdir()
    os.symlink("t", work / "l")
    os.mkfifo(work / "p")
    settle()
    with DirStream(work) as stream:
        found = {}
        while (entry := stream.next()) is not None:
            name, ino, kind = entry
            assert name not in found
            found[name] = (ino, kind)
    assert set(found) == {b".", b"..", b"f", b"d", b"l", b"p"}
    for name in (b"f", b"d", b"l", b"p", b"."):
        st = os.lstat(os.fsencode(work) + b"/" + name)
        assert found[name][1] in (0, stat.S_IFMT(st.st_mode) >> 12)
        assert found[name][0] == st.st_ino


def test_listing_that_fills_many_buffers(work, settle):
    names = fill(work, 1000)
    settle()
    with DirStream(work) as stream:
        found = stream.names()
    assert len(found) == len(set(found)) and sorted(found) == names


@pytest.mark.full
def test_a_hundred_thousand_entries(work, settle):
    names = fill(work, 100_000)
    settle()
    with DirStream(work) as stream:
        found = stream.names()
    assert len(found) == 100_000 and sorted(found) == names
    assert os.path.exists(work / "name-099999") and not os.path.exists(work / "name-100000")
    out = env.run("find", work, "-type", "f", "-name", "*99").stdout
    assert out.count("\n") == 1000
    env.run("rm", "-r", work, timeout=300)
    assert not work.exists()
    work.mkdir()


def test_every_cookie_leads_back(work, settle):
    fill(work, 600)
    settle()
    with DirStream(work) as stream:
        seen = []
        while True:
            cookie = stream.tell()
            entry = stream.next()
            if entry is None:
                break
            seen.append((cookie, entry[0]))
        for index in random.Random(1).sample(range(len(seen)), 100):
            stream.seek(seen[index][0])
            assert stream.next()[0] == seen[index][1]
            follower = stream.next()
            assert (follower and follower[0]) == (seen[index + 1][1] if index + 1 < len(seen) else None)


def test_cookies_stay_valid_while_entries_go(work, settle):
    """A cookie taken before deletions still continues after the same place."""
    names = fill(work, 600)
    settle()
    with DirStream(work) as stream:
        seen = []
        for _ in range(300):
            entry = stream.next()
            seen.append((stream.tell(), entry[0]))
        rest = [name for name in stream.names()]
        for _, name in seen[:200]:
            if name not in (b".", b".."):
                os.unlink(os.fsencode(work) + b"/" + name)
        for name in rest[::3]:
            os.unlink(os.fsencode(work) + b"/" + name)
        stream.seek(seen[-1][0])
        left = stream.names()
    gone = set(rest[::3])      # whether these still show in a stream already open is up to the cache
    assert [name for name in left if name not in gone] == [n for n in rest if n not in gone]
    assert len(names) == 600


def test_deleting_while_listing_meets_everything(work, settle):
    """rm -r: unlink each entry as it is found."""
    names = fill(work, 1000)
    settle()
    with DirStream(work) as stream:
        gone = []
        while (entry := stream.next()) is not None:
            if entry[0] not in (b".", b".."):
                os.unlink(os.fsencode(work) + b"/" + entry[0])
                gone.append(entry[0])
    assert sorted(gone) == names and os.listdir(work) == []


def test_entries_that_stay_are_seen_exactly_once(work, settle):
    """Others come and go during the listing; those that stay appear once."""
    names = fill(work, 800)
    settle()
    rng = random.Random(9)
    with DirStream(work) as stream:
        seen = []
        number = 0
        while (entry := stream.next()) is not None:
            seen.append(entry[0])
            if len(seen) % 7 == 0:
                number += 1
                (work / f"new-{number}").touch()
            if len(seen) % 11 == 0:
                victim = work / f"new-{rng.randrange(number + 1)}"
                victim.unlink(missing_ok=True)
            if len(seen) % 13 == 0 and number:
                try:
                    os.rename(work / f"new-{number}", work / f"moved-{number}")
                except FileNotFoundError:
                    pass
    stayed = [name for name in seen if name.startswith(b"name-")]
    assert sorted(stayed) == names
    assert len(seen) == len(set(seen))


def test_new_entries_show_in_the_next_listing(work):
    """Cached listings must not hide what came or went, by this process or another."""
    import people
    for number in range(30):
        (work / f"n{number}").touch()
        assert len(os.listdir(work)) == number + 1
        assert len(people.in_child(os.listdir, work)) == number + 1
    people.in_child(os.unlink, work / "n7")
    assert "n7" not in os.listdir(work) and len(os.listdir(work)) == 29
    os.rename(work / "n8", work / "m8")
    assert "n8" not in os.listdir(work) and "m8" in os.listdir(work)


def test_listing_with_attributes_is_right_after_changes(work, settle):
    """readdirplus fills the caches: sizes and modes shown by ls -l are current."""
    for number in range(200):
        (work / f"n{number}").write_bytes(b"x" * number)
    settle()
    assert {e.name: e.stat().st_size for e in os.scandir(work)} == {
        f"n{n}": n for n in range(200)}
    for number in range(0, 200, 2):
        with open(work / f"n{number}", "ab") as file:
            file.write(b"y" * 10)
    assert {e.name: e.stat().st_size for e in os.scandir(work)} == {
        f"n{n}": n + (10 if n % 2 == 0 else 0) for n in range(200)}


def test_long_names_fill_buffers_exactly(work, settle):
    """Entries of 255 bytes leave little slack in any buffer; none may get lost at its end."""
    names = [b"%03d" % number + b"x" * (252 - number % 9) for number in range(700)]
    for name in names:
        os.close(os.open(os.fsencode(work) + b"/" + name, os.O_CREAT | os.O_WRONLY))
    settle()
    assert sorted(os.listdir(os.fsencode(work))) == sorted(names)
