# SPDX-License-Identifier: MIT
"""The power goes while a pool is repaired, collected or healed. Then the same is begun anew, as people
would, and has to end as if nothing had happened."""

import errno
import json
import os

import pytest

import actors
import env
import power
from disks import fsck
from test_power import MIXED

KINDS = ["ext4", "xfs", "btrfs"]
OPTIONS = "wal_sync_interval=100ms,destage_delay=100ms,gc_interval=1h,log_level=warning"
CORRECTED, DAMAGED = 1, 3


class Stored(actors.Actor):
    """Files in packs."""

    count = 5

    def steps(self, n):
        for i in range(self.count):
            file = self.create(f"f{i}")
            file.write(self.bytes(300000))
            file.close()
            yield
        self.wait(0.5)  # for destage
        self.fsyncdir()
        yield

    def contents(self):
        return {path: self.history.lives()[file].versions[-1].data for path, (_, file) in self.tree.items()}


class Remains(Stored):
    """Most files are deleted again: what the others have in packs is worth moving."""

    count = 12

    def steps(self, n):
        yield from super().steps(n)
        for i in range(self.count):
            if i % 4:
                self.unlink(f"f{i}")
        self.fsyncdir()
        yield


actors.KINDS.update(stored=Stored, remains=Remains)


def foldfs(*words, code=0):
    return env.run(env.binary("foldfs"), *words, code=code)


class Collection(power.Stage):
    name, actor = "gc", "remains"

    def run(self, recording, pool, home):
        with power.mounted(pool, home, recording.workload.options) as mount:
            result = json.loads(foldfs("gc", "--json", mount).stdout)
        assert result["packs_rewritten"], result


class Repair(power.Stage):
    """The index is rotten, so all of it is restored from a dump and the log."""

    name = "fsck -y"

    def prepare(self, pool):
        assert list(pool.glob("packs/dump-*")), "there is no dump"
        with open(pool / "index" / "data.mdb", "r+b") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(0)
            file.write(b"rot!" * (length // 4))

    def run(self, recording, pool, home):
        env.run(env.binary("fsck.foldfs"), "-y", pool, code=CORRECTED)

    def check(self, recording, records, state, pool, home):
        done = env.run(env.binary("fsck.foldfs"), "-y", pool, code=None)
        assert done.returncode in (0, CORRECTED), f"fsck.foldfs -y: {done.stdout}{done.stderr}"
        power.check_state(recording, records, state, pool, home)


class NeedlessRepair(Repair):
    """After a cut, as some do at every boot."""

    name = "needless fsck -y"

    def prepare(self, pool):
        pass

    def run(self, recording, pool, home):
        env.run(env.binary("fsck.foldfs"), "-y", pool)


class Healing(power.Stage):
    """Scrub finds what is rotten in packs, and the same bytes come again."""

    name, actor = "scrub and healing", "stored"

    def prepare(self, pool):
        for pack in pool.glob("packs/*.pack"):
            with open(pack, "r+b") as file:
                length = file.seek(0, os.SEEK_END)
                for part in range(1, 16):
                    file.seek(length * part // 16)
                    byte = file.read(1)[0]
                    file.seek(length * part // 16)
                    file.write(bytes([byte ^ 1]))

    def run(self, recording, pool, home):
        with self.mounted(recording, pool, home) as mount:
            assert self.heal(recording, mount), "nothing was rotten"

    def check(self, recording, records, state, pool, home):
        with self.mounted(recording, pool, home) as mount:
            self.heal(recording, mount)
            power.go_on(mount, recording.workload)
        fsck(pool)

    @staticmethod
    def mounted(recording, pool, home):
        return power.mounted(pool, home, recording.workload.options, complains=True)

    def heal(self, recording, mount):
        """Returns which files could not be read."""
        actor = recording.actors[0]
        foldfs("sync", "--destage", mount)  # what was written again before the cut heals meanwhile
        rotten = self.compare(mount / actor.name, actor.contents())
        foldfs("scrub", mount, code=DAMAGED if rotten else None)
        for path, data in actor.contents().items():
            (mount / f"{path} again").write_bytes(data)

        def healed():
            foldfs("sync", "--destage", mount)  # of what the daemon knows to be closed
            return not self.compare(mount / actor.name, actor.contents())

        env.until(healed, "all files are healed")
        for path in actor.contents():
            os.unlink(mount / f"{path} again")
        foldfs("scrub", mount)
        return rotten

    @staticmethod
    def compare(directory, contents):
        """Damage is never served: files have the right bytes or cannot be read. Which cannot?"""
        assert sorted(os.listdir(directory)) == sorted(contents)
        rotten = []
        for path, data in contents.items():
            try:
                assert (directory / path).read_bytes() == data, f"{path} has wrong bytes"
            except OSError as exc:
                assert exc.errno == errno.EIO, exc
                rotten.append(path)
        return rotten


def survive_stage(images, home, kind, stage, at_least, whole):
    """Damage to packs has to be there whatever the log brings back, so these begin after an unmount;
    repairs begin after a power cut."""
    after_unmount = stage.actor is not None
    workload = power.Workload((stage.actor,), rounds=1, options=OPTIONS) if after_unmount else MIXED
    recording = power.record(images(kind), home / "first", workload)
    boundary = [s for s in power.plan(recording).states if s.mode == "none"]
    state = boundary[-1] if after_unmount else boundary[len(boundary) * 7 // 8]
    power.survive_recovery(recording, state, home / "again", at_least, whole, stage)


STAGES = [Collection, Repair, NeedlessRepair, Healing]


@pytest.mark.parametrize("stage", STAGES)
def test_stage(images, ram, stage):
    survive_stage(images, ram / stage.__name__, "ext4", stage(), 12, whole=False)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", STAGES)
def test_every_flush_of_a_stage(images, ram, stage, kind):
    survive_stage(images, ram / f"{stage.__name__}-{kind}", kind, stage(), 150, whole=True)
