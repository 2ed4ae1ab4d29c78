# SPDX-License-Identifier: MIT
"""Damage to what lies in the place of a tier: fsck.foldfs mends it there as it does in the pool itself, and
where nothing can be written it says so, and reads of what is lost fail."""

import errno
import os
import shutil

import pytest

import env
from pattern import noise
from test_fsck import CLEAN, CORRECTED, LEFT
from test_tiers import MIB, check, declare, fill, fresh, hot, move, packs, sealed, tier_of, tiered  # noqa: F401

pytestmark = pytest.mark.foldfs


@pytest.fixture
def cold(tiered, home):
    """A pool that is not mounted, all packs of which lie in a tier; .content is what its files hold."""
    mount = tiered("cold")
    content = fill(mount)
    sealed(mount)
    move(mount, "cold", mount.dir)
    mount.stop()
    assert hot(mount) == [] and len(packs(home / "cold")) >= 4
    mount.content, mount.place = content, home / "cold"
    return mount


def pack_of(mount, nth):
    return mount.place / packs(mount.place)[nth]


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x40]))


def swap(first, second):
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def lost_files(mount):
    """Names of files that fail with EIO; all others are as they were."""
    lost = []
    for name, content in mount.content.items():
        try:
            assert fresh(mount.dir / name) == content, f"{name} has other bytes"
        except OSError as exc:
            assert exc.errno == errno.EIO
            lost.append(name)
    return lost


def goes_on(mount):
    """It is mounted for writing, and what is written stays."""
    mount.content["new"] = noise(100_000, 4711)
    (mount.dir / "new").write_bytes(mount.content["new"])
    mount.remount()


@pytest.mark.asan
@pytest.mark.parametrize("where, sentence", [(9, "the header of pack"), (-3, "gets a new footer")])
def test_header_and_footer_are_written_anew(cold, where, sentence):
    flip(pack_of(cold, 1), where)
    cold.pool.fsck("-n", code=LEFT)
    assert sentence in cold.pool.fsck("-y", code=CORRECTED).stdout
    assert "note" not in cold.pool.fsck("-n", "-v").stdout
    cold.start()
    check(cold, cold.content)
    goes_on(cold)
    check(cold, cold.content)


@pytest.mark.asan
def test_names_that_two_packs_have_exchanged(cold):
    swap(pack_of(cold, 0), pack_of(cold, 1))
    found = cold.pool.fsck("-n", code=LEFT).stdout
    assert "does not begin as that of this pack" in found
    done = cold.pool.fsck("-y", code=CORRECTED).stdout
    assert "has its name again" in done and "lost" not in done
    cold.pool.fsck("-n", "-f")
    cold.start()
    check(cold, cold.content)


@pytest.mark.asan
@pytest.mark.parametrize("length", ["half", "none"])
def test_a_pack_that_was_cut(cold, length):
    """What is left of it can be read, the pool is written to, and when the whole pack is back, so are its files."""
    path = pack_of(cold, 1)
    whole = path.read_bytes()
    os.truncate(path, len(whole) // 2 if length == "half" else 0)
    cold.pool.fsck("-n", code=LEFT)
    done = cold.pool.fsck("-y", code=CORRECTED).stdout
    assert "lost: /f" in done and "left" not in done
    if length == "none":
        assert f"it is {cold.place}/{path.name}.damaged now" in done and not path.exists()
    cold.pool.fsck("-n")
    cold.expect_log("frame at|cannot be read|lost|damaged")
    cold.start()
    lost = lost_files(cold)
    assert 1 <= len(lost) <= 2
    goes_on(cold)
    assert lost_files(cold) == lost
    cold.stop()
    path.write_bytes(whole)
    assert "is there again" in cold.pool.fsck("-y", "-f", code=CORRECTED).stdout
    cold.start()
    check(cold, cold.content)


def test_rotten_bytes_in_a_tier_cost_what_they_hold(cold):
    """The head of a frame is gone: its chunks are lost, and nothing else."""
    path = pack_of(cold, 0)
    with open(path, "r+b") as file:
        file.seek(64)
        file.write(bytes(4096))
    cold.pool.fsck("-n", code=LEFT)
    assert "left" not in cold.pool.fsck("-y", code=CORRECTED).stdout
    cold.pool.fsck("-n")
    cold.expect_log("frame at|cannot be read|lost|damaged")
    cold.start()
    assert len(lost_files(cold)) == 1


@pytest.mark.asan
@pytest.mark.parametrize("kind", ["header", "cut", "empty"])
def test_a_place_that_cannot_be_written_to(cold, kind):
    """Nothing is changed there, one sentence says what to do, and what can't be read is an error to readers."""
    env.need_root()
    path = pack_of(cold, 1)
    if kind == "header":
        flip(path, 9)
    else:
        os.truncate(path, path.stat().st_size // 2 if kind == "cut" else 0)
    damaged = path.read_bytes()
    env.run("mount", "--bind", cold.place, cold.place)
    env.run("mount", "-o", "remount,ro,bind", cold.place)
    cold.expect_log("frame at|cannot be read|lost|damaged|could not be removed|Read-only")
    try:
        done = cold.pool.fsck("-y", code=CLEAN if kind == "header" else CORRECTED).stdout
        assert f"{cold.place} cannot be written to" in done and "error" not in done
        assert path.read_bytes() == damaged
        cold.pool.fsck("-n")
        cold.pool.fsck("-y")
        cold.start()
        lost = lost_files(cold)
        assert len(lost) in ([0] if kind == "header" else [1, 2])
        goes_on(cold)
        cold.stop()
    finally:
        env.run("umount", *([] if cold.pid is None else ["-l"]), cold.place)
    cold.pool.fsck("-y", code=CLEAN if kind == "empty" else CORRECTED)
    cold.pool.fsck("-n")
    cold.start()
    assert lost_files(cold) == lost


@pytest.mark.asan
def test_a_pack_that_was_moved_by_hand(cold):
    """From a tier into packs/, and from there into a tier: not a byte is lost, and nobody says so."""
    down, up = pack_of(cold, 0), pack_of(cold, 1)
    shutil.move(down, cold.pool.path / "packs" / down.name)
    done = cold.pool.fsck("-n", code=LEFT).stdout
    assert "is not in tier cold, but in packs/" in done and "lost" not in done and "missing" not in done
    done = cold.pool.fsck("-y", code=CORRECTED).stdout
    assert "was found in packs/" in done and "lost" not in done
    cold.pool.fsck("-n")
    shutil.move(cold.pool.path / "packs" / down.name, down)
    assert "is not in packs/, but in tier cold" in cold.pool.fsck("-n", code=LEFT).stdout
    assert "was found in tier cold" in cold.pool.fsck("-p", code=CORRECTED).stdout
    shutil.move(up, cold.pool.path / "packs" / up.name)
    cold.expect_log("is not where it was")
    cold.start()
    check(cold, cold.content)
    assert tier_of(cold, "cold")["packs"] == len(packs(cold.place)) and hot(cold) == [up.name]


@pytest.mark.asan
@pytest.mark.parametrize("kind", ["rotten", "cut", "header"])
@pytest.mark.parametrize("which", ["tier", "pool"])
def test_of_two_copies_the_sound_one_counts(cold, which, kind):
    """A move that was interrupted leaves a pack twice. Whichever is damaged, the other one is taken."""
    there = pack_of(cold, 1)
    here = cold.pool.path / "packs" / there.name
    shutil.copy(there, here)
    bad = there if which == "tier" else here
    if kind == "cut":
        os.truncate(bad, bad.stat().st_size // 2)
    else:
        flip(bad, 9 if kind == "header" else bad.stat().st_size // 2)
    if which == "tier":
        cold.pool.fsck("-n", code=LEFT)
        done = cold.pool.fsck("-y", code=CORRECTED).stdout
        assert "lost" not in done
    cold.pool.fsck("-n")
    cold.start()
    check(cold, cold.content)
    assert len(packs(cold.place)) + len(hot(cold)) == len(set(packs(cold.place) + hot(cold)))
    cold.stop()
    cold.pool.fsck("-n", "-f")


LABEL = "foldfs-tier"


def spoil_label(path, how):
    if how == "rotten":
        flip(path, 20)
    elif how == "empty":
        os.truncate(path, 0)
    else:
        path.unlink()


@pytest.mark.asan
@pytest.mark.parametrize("how", ["rotten", "empty", "gone"])
def test_a_label_is_written_anew_when_the_packs_prove_whose_it_is(cold, how):
    label = cold.place / LABEL
    was = label.read_bytes()
    spoil_label(label, how)
    cold.expect_log("lies in tier cold, which is absent|tier cold is absent")
    cold.start()
    with pytest.raises(OSError):
        fresh(cold.dir / "f0")
    why = tier_of(cold, "cold")["absent"]
    assert "fsck.foldfs -y writes it anew" in why and "Stale" not in why
    cold.pid = None  # its end is not that of a pool in order
    cold.unmount()
    env.until(lambda: cold.pool.owner() is None, "the pool is free")
    found = cold.pool.fsck("-n", code=LEFT).stdout
    assert f"{label}, is damaged or gone, and what lies there is this pool's" in found
    assert f"{label}, is written anew" in cold.pool.fsck("-y", code=CORRECTED).stdout
    assert label.read_bytes() == was
    cold.pool.fsck("-n")
    cold.start()
    check(cold, cold.content)


@pytest.mark.asan
@pytest.mark.parametrize("whose", ["another pool's", "another tier's", "nobody's"])
def test_a_label_is_not_written_anew_where_nothing_proves_it(cold, home, new_mount, whose):
    """Whatever lies there stays as it is, and it is said why."""
    label = cold.place / LABEL
    cold.expect_log("lies in tier cold, which is absent|tier cold is absent")
    if whose == "another pool's":
        other = new_mount(mkfs={"reserve_size": "1M"}, name="second", pack_size="4M", gc_interval=0)
        (other.dir / "f").write_bytes(noise(MIB, 5))
        other.destage()
        other.stop()
        for path in cold.place.glob("*.pack"):
            path.rename(home / path.name)
        for path in (other.pool.path / "packs").glob("*.pack"):
            shutil.copy(path, cold.place)
        sentence = "packs of another pool lie there"
    elif whose == "another tier's":
        declare(cold, home, "cold", "warm")
        cold.start()
        move(cold, "warm", cold.dir)
        cold.stop()
        for path in (home / "warm").glob("*.pack"):
            shutil.copy(path, cold.place)
        sentence = "packs of another tier of this pool lie there"
    else:
        for path in cold.place.glob("*.pack"):
            path.rename(home / path.name)
        sentence = "no pack there proves"
    label.write_bytes(b"")
    for options, code in [("-n", None), ("-y", None)]:
        done = cold.pool.fsck(options, code=code)
        assert sentence in done.stdout and label.read_bytes() == b"" and "written anew" not in done.stdout


@pytest.mark.asan
def test_the_label_of_a_tier_in_which_nothing_lies(tiered, home):
    """Nothing can be taken for what it is not."""
    mount = tiered("cold")
    mount.stop()
    os.truncate(home / "cold" / LABEL, 0)
    mount.pool.fsck("-n", code=LEFT)
    mount.pool.fsck("-y", code=CORRECTED)
    mount.pool.fsck("-n")
    mount.start()
    assert not tier_of(mount, "cold")["absent"]


@pytest.mark.parametrize("footer", [True, False], ids=["footer", "no-footer"])
def test_a_wrong_bit_read_once_is_not_what_moves(tiered, home, footer):
    """Each read of the pack on its way to the tier brings one wrong bit in turn. What is there is right then."""
    mount = tiered("cold")
    data = fill(mount, files=1, size=3 * MIB)
    mount.expect_log("other bytes|frame at")
    mount.stop()
    whole = dict(mount.pool.environ)
    pack = mount.pool.path / "packs" / hot(mount)[0]
    if not footer:
        flip(pack, -3)
        mount.check_pool = lambda: None     # fsck.foldfs rightly finds that
    calls = mount.pool.count_calls("packs", CALLFAULT_READS="1")
    mount.start()
    before = len(calls.read_text().splitlines())
    move(mount, "cold", mount.dir)
    reads = [nth for nth, line in enumerate(calls.read_text().splitlines(), 1) if nth > before and " pread " in line]
    assert len(reads) >= 3
    kept = 0
    for nth in reads:
        mount.foldfs("tier", "recall", mount.dir)
        mount.stop()
        calls = mount.pool.count_calls("packs", CALLFAULT_READS="1", CALLFAULT_AT=str(nth), CALLFAULT_ERROR="flip")
        mount.start()
        done = move(mount, "cold", mount.dir, code=None)
        assert calls.read_text().count("FAULT") == 1
        kept += bool(done.returncode)
        assert packs(home / "cold") == ([] if done.returncode else [pack.name])
        mount.stop()
        mount.pool.environ = dict(whole)
        mount.start()
        check(mount, data)
    assert kept >= 3, "a bit in the data that moves keeps the pack where it is"
