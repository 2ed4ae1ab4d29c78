# SPDX-License-Identifier: MIT
"""Rounds of measurements: in each, every filesystem is made anew on the same device, one after the other."""

import contextlib
import os
import subprocess
import traceback
from pathlib import Path

import filesystems
from commands import Failed, free_memory_limited, say
from rows import ROWS, Bench, rows_for


class Rounds:
    """SETTINGS are the options of bench/compare; KINDS, classes of filesystems; NAMES, of rows; IN_TURNS: none
    of them is always first."""

    def __init__(self, settings, kinds, names, in_turns=False):
        self.settings, self.kinds, self.names, self.in_turns = settings, kinds, names, in_turns
        self.samples = {name: {} for name in self.names}
        self.notes, self.failures = [], []

    def measure(self, bench, row):
        try:
            bench.touch_memory()
            value = row.measure(bench)
        except (Failed, OSError, ValueError, KeyError) as reason:
            self.failures.append(f"{row.name} on {bench.fs.name}: {reason}")
            say(f"FAILED {self.failures[-1]}")
            return
        for name, figure in {bench.fs.name: value, **bench.beside.pop(row.name, {})}.items():
            self.samples[row.name].setdefault(name, []).append(figure)
        say(f"{bench.fs.name}: {row.name}: {value:.3f} {row.unit} {bench.notes.get(row.name, '')}")

    def one(self, kind, device, home, names):
        """Rows on one filesystem, made anew."""
        filesystem = kind(device, home, self.settings)
        bench = Bench(filesystem, self.settings)
        try:
            filesystem.make()
            filesystem.mount()
            for row in rows_for(filesystem, names):
                self.measure(bench, row)
        except (Failed, OSError) as reason:
            self.failures.append(f"{kind.name}: {reason}")
            say(traceback.format_exc())
        finally:
            self.destroy(filesystem)
        self.notes = [n for n in self.notes if not n.startswith(f"{kind.name}: ")] + [
            f"{kind.name}: {row}: {note}" for row, note in bench.notes.items()]

    def destroy(self, filesystem):
        """What can't be ended cleanly is told, and what was measured so far still counts."""
        try:
            filesystem.destroy()
        except (Failed, OSError) as reason:
            self.failures.append(f"{filesystem.name}: {reason}")
            say(traceback.format_exc())
            subprocess.run(["umount", "-l", filesystem.dir], check=False)

    def order(self, number):
        """Each second round of two revisions begins with the other: neither is always the later."""
        return self.kinds[::-1] if self.in_turns and number % 2 else self.kinds

    def all(self, names=None):
        """All rows, or these."""
        home = Path(self.settings.work)
        home.mkdir(parents=True, exist_ok=True)
        device = filesystems.Device(home, self.settings.device << 30)
        try:
            limit = self.settings.memory << 30
            with free_memory_limited(limit) if limit else contextlib.nullcontext():
                for number in range(self.settings.rounds):
                    for kind in self.order(number):
                        say(f"round {number + 1} of {self.settings.rounds}: {kind.name}")
                        self.one(kind, device, home, names or self.names)
        finally:
            device.remove()

    def results(self, load_before):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
        rows = [{"name": row.name, "title": row.title, "unit": row.unit, "caches": row.caches,
                 "goals": list(row.goals), "limit": row.limit,
                 "lower_is_better": row.lower_is_better}
                for row in ROWS if row.name in self.names]
        return {"machine": {"kernel": os.uname().release, "cores": os.cpu_count(),
                            "memory_gb": memory, "load_before": load_before,
                            "load_after": os.getloadavg()[0]},
                "rounds": self.settings.rounds,
                "settings": {name: getattr(self.settings, name) for name in
                             ("size", "files", "seconds", "memory", "options", "mkfs_options", "nice")},
                "filesystems": [kind.name for kind in self.kinds],
                "caches": {kind.name: kind.caches for kind in self.kinds},
                "rows": rows, "samples": self.samples, "notes": self.notes,
                "failures": self.failures}
