# SPDX-License-Identifier: MIT
"""The rows of the Speed table: what is done, what is measured, and what is aimed at.

A row's `measure(bench)` returns a number; `bench` gives the filesystem, the sizes and the tree. Rows
run in the order of ROWS, on one filesystem after the other; later rows may use what earlier ones
left. `caches` says what was dropped before the measured part.
"""

import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from commands import Failed, probe, run, run_json, timed, touch_memory

FIO = Path(__file__).resolve().parents[1] / "fio"


@dataclass
class Row:
    name: str
    title: str
    unit: str
    caches: str
    measure: object
    goals: list = ()		# (peer, factor): at least factor times the peer, for times at most
    limit: float = None		# an absolute goal, in the row's unit
    lower_is_better: bool = False
    only: tuple = ()		# filesystems that the row makes sense on, or all
    many_files: bool = False	# not for filesystems that can hold few files


class Bench:
    """One filesystem in one round, as the rows see it."""

    def __init__(self, filesystem, settings):
        self.fs = filesystem
        self.dir = Path(filesystem.dir)
        self.settings = settings
        self.notes = {}
        self.beside = {}  # {row: {what a goal of it names: figure}}, measured in the row itself

    def fio(self, job, section):
        environ = {**os.environ, "SIZE": f"{self.settings.size}m",
                   "SIZE_SMALL": f"{max(self.settings.size // 4, 16)}m",
                   "SECONDS_EACH": str(self.settings.seconds)}
        text = run("fio", "--output-format=json", f"--directory={self.dir}", f"--section={section}",
                   FIO / f"{job}.fio", env=environ, cwd=self.dir)
        result = json.loads(text[text.index("{"):])["jobs"][0]
        if result["error"]:
            raise Failed(f"fio {job}: error {result['error']}")
        return result

    def touch_memory(self):
        if self.settings.memory:
            touch_memory()

    def cold(self):
        self.fs.cold()
        self.touch_memory()

    def prepared(self, job, name):
        """The file of a job that reads, stored where it will stay."""
        if not (self.dir / name).exists():
            self.fio(job, "prepare")
            self.fs.settle()


def megabytes(result, way):
    """MB/s, fsync at the end included."""
    part = result[way]
    return part["io_bytes"] / 1000 / max(result["job_runtime"], 1)


def thousands(result, way):
    return result[way]["iops"] / 1000


def seq_write(b):
    return megabytes(b.fio("seq-write", "measure"), "write")


def stream_write(b):
    return run_json(probe(b.settings.build, "stream"), "write", b.dir / "streamed",
                    b.settings.size << 20, 50, 2001)["mb_per_s"]


def rand_write(b):
    b.fio("rand-write", "prepare")
    return thousands(b.fio("rand-write", "measure"), "write")


def rand_write_fresh(b):
    return thousands(b.fio("rand-write-fresh", "measure"), "write")


def append_fsync(b):
    return thousands(b.fio("append-fsync", "measure"), "write")


def seq_read(kind):
    def measure(b):
        b.prepared(f"seq-read-{kind}", f"read-{kind}")
        b.cold()
        return megabytes(b.fio(f"seq-read-{kind}", "measure"), "read")
    return measure


def reread(b):
    b.prepared("reread", "reread")
    b.cold()
    b.fio("reread", "warm")
    return megabytes(b.fio("reread", "measure"), "read")


def reread_hot(b):
    """As often read as it takes to get whatever the filesystem has for such files."""
    b.prepared("reread", "reread")
    b.cold()
    b.fs.heat(b.dir / "reread")
    b.fio("reread", "warm")
    return megabytes(b.fio("reread", "measure"), "read")


def read_hot_cold(b):
    b.prepared("reread", "reread")
    b.fs.heat(b.dir / "reread")
    b.fs.forget(b.dir / "reread")
    return megabytes(b.fio("reread", "warm"), "read")


def rand_read(job, kind):
    def measure(b):
        b.prepared(f"seq-read-{kind}", f"read-{kind}")
        b.cold()
        return thousands(b.fio(job, "measure"), "read")
    return measure


def created_files(b):
    """Directory and number of the files that `creates` makes; says where they are fewer than asked for."""
    where = b.dir if b.fs.name.startswith("floor") else b.dir / "creates"
    return where, min(b.settings.files, b.fs.max_files or b.settings.files)


def create_files(b):
    where, count = created_files(b)
    where.mkdir(exist_ok=True)
    return run_json(probe(b.settings.build, "creates"), where, count, 4096, 4096)


def creates(b):
    _, count = created_files(b)
    got = create_files(b)
    tenths = got["tenths_s"]
    fewer = f"only {count} files: it can hold no more; " if count < b.settings.files else ""
    slope = f"last tenth {tenths[0] / tenths[-1]:.2f} x as fast as the first" if count >= len(tenths) else ""
    b.notes["creates"] = fewer + slope
    return count / got["seconds"] / 1000


def unlinks(b):
    where, count = created_files(b)
    if not (where / "f0000000").exists():
        create_files(b)
    if count < b.settings.files:
        b.notes["unlinks"] = f"only {count} files"
    names = [where / f"f{n:07}" for n in range(count)]
    begin = time.monotonic()
    for name in names:
        os.unlink(name)
    return count / (time.monotonic() - begin) / 1000


def unpack(b):
    (b.dir / "tree").mkdir()
    return timed("tar", "-xf", b.settings.tar, "-C", b.dir / "tree")


def tree(b):
    """What `unpack` leaves, also where that row was not asked for."""
    if not (b.dir / "tree").exists():
        unpack(b)
    return b.dir / "tree"


def find(b):
    return timed("find", tree(b), "-size", "+100M")


def find_cold(b):
    tree(b)
    b.fs.settle()
    b.cold()
    return find(b)


def grep_cold(b):
    tree(b)
    b.fs.settle()
    b.cold()
    return timed("sh", "-c", f"grep -r -c nowhere_to_be_found '{b.dir}/tree' || true")


def find_warm(b):
    find(b)
    return find(b)


def git_status(b):
    """The second one: the index knows all files, so each is but looked at. Objects lie beside the mounts. (By force,
    as Debian's Linux has git ignore everything.)"""
    objects = b.dir.parent / "git-objects"
    environ = {**os.environ, "GIT_OBJECT_DIRECTORY": os.fspath(objects)}
    for words in (["init", "-q"], ["-c", "core.compression=0", "add", "-A", "-f"], ["status", "-s"]):
        run("git", "-C", tree(b), *words, env=environ)
    seconds = timed("git", "-C", tree(b), "status", "-s", env=environ)
    shutil.rmtree(tree(b) / ".git")
    shutil.rmtree(objects)
    return seconds


MAKEFILE = """objects = $(patsubst %.c,%.o,$(wildcard *.c))
program: $(objects)
\tcc -o $@ $^
$(objects): common.h
"""


def lay_out_project(project):
    """A hundred small files of C."""
    project.mkdir()
    names = [f"part{n}" for n in range(100)]
    (project / "Makefile").write_text(MAKEFILE)
    (project / "common.h").write_text("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n" +
                                      "".join(f"int {name}(int a);\n" for name in names))
    for name in names:
        (project / f"{name}.c").write_text(f'#include "common.h"\n'
                                           f'int {name}(int a) {{ return printf("%d\\n", a); }}\n')
    (project / "main.c").write_text('#include "common.h"\nint main(void) { return part0(1) < 0; }\n')
    return project


def make(b):
    """Compiled without optimisation and linked; first beside the mounts, so that everyone finds compiler
    and headers in the page cache."""
    words = ["make", "-s", f"-j{os.cpu_count()}", "-C"]
    beside = b.dir.parent / "project"
    shutil.rmtree(beside, ignore_errors=True)
    run(*words, lay_out_project(beside))
    shutil.rmtree(beside)
    return timed(*words, lay_out_project(b.dir / "project"))


def copy_tree(b):
    return timed("cp", "-a", tree(b), b.dir / "copy")


def remove_tree(b):
    if not (b.dir / "copy").exists():
        copy_tree(b)
    seconds = timed("rm", "-r", b.dir / "copy")
    shutil.rmtree(tree(b))
    return seconds


def copy_stored(b):
    b.prepared("seq-read-raw", "read-raw")
    b.fs.settle()
    return timed("cp", "--reflink=auto", b.dir / "read-raw", b.dir / "read-raw.copy") * 1000


def streams(b, name, percent, seed):
    """One file a core, of content that PERCENT of can be compressed away; returns the bytes of each."""
    cores = os.cpu_count()
    each = (b.settings.size << 20) // cores
    for number in range(cores):
        run(probe(b.settings.build, "stream"), "write", b.dir / f"{name}-{number}", each, percent,
            seed + number)
    return each


def destage_time(b):
    return timed(b.fs.program("foldfs"), "sync", "--destage", b.dir)


def destage(b, name):
    """Bytes per second and core that `sync --destage` gets through."""
    b.fs.settle()
    return streams(b, name, 50, 2010) / destage_time(b) / 1e9


def destage_new(b):
    return destage(b, "new")


def destage_known(b):
    if not (b.dir / "new-0").exists():
        destage(b, "new")
    return destage(b, "known")


def destage_compared(b):
    """Duplicates of packs that nobody has verified lately, and what a plain read of these packs takes."""
    before = b.fs.stats()["packer"]["bytes_stored"]
    streams(b, "old", 0, 2020)
    b.fs.settle()
    stored = b.fs.stats()["packer"]["bytes_stored"] - before
    b.fs.cold_with("verify_age=0,destage_delay=600s")
    b.touch_memory()
    try:
        streams(b, "compared", 0, 2020)
        read = b.fs.device.bytes_read()
        seconds = destage_time(b)
        read = b.fs.device.bytes_read() - read
    finally:
        b.fs.cold_with("")
    b.touch_memory()
    device = read_plainly(b, stored)
    b.beside["destage-compared"] = {"device": device}
    b.notes["destage-compared"] = (f"{read / 1e6:.0f} MB were read of {stored / 1e6:.0f} MB stored; "
                                   f"dd reads them at {device:.0f} MB/s (device)")
    return stored / seconds / 1e6


def read_plainly(b, size):
    """MB/s of a program that reads the youngest packs, which hold SIZE bytes."""
    packs = sorted((b.fs.pool / "packs").rglob("*.pack"), key=lambda path: path.stat().st_mtime_ns)
    seconds = done = 0
    while done < size:
        if not packs:
            raise Failed(f"the packs have {done} bytes, not the {size} that were stored")
        path = packs.pop()
        done += path.stat().st_size
        seconds += timed("dd", f"if={path}", "of=/dev/null", "bs=1M", "status=none")
    return done / seconds / 1e6


def mixed_tar(b):
    """Programs, libraries and texts of this machine, as one file beside the mounts."""
    path = b.dir.parent / "mixed.tar"
    size = b.settings.size << 20
    if not path.exists() or path.stat().st_size != size:
        run("sh", "-c", f"tar -C / -cf - usr/bin usr/lib usr/share 2>/dev/null | head -c {size} >{path}")
    return path


def destage_mixed(b):
    """The same of a tar of many things, a part of it for each core."""
    cores = os.cpu_count()
    each = (b.settings.size << 20) // cores
    path = mixed_tar(b)
    b.fs.settle()
    for number in range(cores):
        run("dd", f"if={path}", f"of={b.dir}/mixed-{number}", "bs=1M", f"count={each >> 20}",
            f"skip={number * (each >> 20)}", "status=none")
    return each / destage_time(b) / 1e9


def zstd_speed(path):
    """What zstd's own benchmark says of a file in pieces as long as our frames, on one core, in GB/s."""
    text = run("zstd", "-b3", "-i2", "-B262144", path)
    return float(re.findall(r"\(x[\d.]+\), *([\d.]+) MB/s", text)[-1]) / 1000


def zstd_alone(b):
    path = b.dir.parent / "zstd-sample"
    run(probe(b.settings.build, "stream"), "write", path, 64 << 20, 50, 2003)
    speed = zstd_speed(path)
    path.unlink()
    return speed


def zstd_mixed(b):
    return zstd_speed(mixed_tar(b))


DROPPED = "all"

ROWS = [
    Row("seq-write", "1 MiB sequential write, new file, end fsync", "MB/s", "none", seq_write,
        [("ext4", 0.95)]),
    Row("stream-write", "the same by a writer that never reads (cp, tar)", "MB/s", "none",
        stream_write, [("ext4", 0.95)]),
    Row("rand-write", "4 KiB random overwrite, buffered, O_RDWR", "k/s", "none, just written",
        rand_write, [("ext4", 0.8)]),
    Row("rand-write-fresh", "4 KiB random write into holes, buffered, O_RDWR", "k/s", "none",
        rand_write_fresh, [("ext4", 0.8)]),
    Row("append-fsync", "4 KiB append + fsync", "k/s", "none", append_fsync,
        [("ext4", 0.85), ("passthrough", 0.97)]),
    Row("seq-read-raw", "1 MiB sequential read, stored, cold, incompressible", "MB/s", DROPPED,
        seq_read("raw"), [("ext4", 0.8)]),
    Row("seq-read-packed", "1 MiB sequential read, stored, cold, compresses 2.5 x", "MB/s", DROPPED,
        seq_read("packed"), [("ext4", 1.2)]),
    Row("seq-read-mixed", "1 MiB sequential read, stored, cold, compresses 2 x, a fifth duplicates", "MB/s",
        DROPPED, seq_read("mixed")),
    Row("reread", "1 MiB re-read, stored, page cache warm", "MB/s", "all, then read once", reread,
        [("ext4", 0.45)]),
    Row("reread-hot", "1 MiB re-read of a file that is read often", "MB/s",
        "all, then read several times", reread_hot, [("ext4", 0.9)]),
    Row("read-hot-cold", "1 MiB sequential read of such a file, cold", "MB/s", "its pages",
        read_hot_cold, [("ext4", 0.9)], only=("ext4", "foldfs", "foldfs-rings")),
    Row("rand-read-1", "4 KiB random read, stored, cold, 1 deep", "k/s", DROPPED,
        rand_read("rand-read-1", "raw"), [("ext4", 0.7)]),
    Row("rand-read-32", "4 KiB random read, stored, cold, 32 deep, direct", "k/s", DROPPED,
        rand_read("rand-read-32", "raw"), [("ext4", 0.7)]),
    Row("rand-read-packed", "4 KiB random read, stored, cold, 1 deep, compresses 2.5 x", "k/s",
        DROPPED, rand_read("rand-read-packed", "packed")),
    Row("copy-stored", "cp of a stored file", "ms", "none, just stored or read", copy_stored, limit=50,
        lower_is_better=True),
    Row("creates", "create + write 4 KiB + close", "k/s", "none", creates,
        [("passthrough", 3), ("floor", 0.85)]),
    Row("unlinks", "unlink of these", "k/s", "none, just made", unlinks),
    Row("unpack", "unpack a source tree", "s", "none", unpack, [("ext4", 3)], limit=30,
        lower_is_better=True, many_files=True),
    Row("find-cold", "find in it", "s", DROPPED, find_cold, lower_is_better=True, many_files=True),
    Row("find-warm", "find again", "s", "none, just found", find_warm, lower_is_better=True, many_files=True),
    Row("grep-cold", "grep -r in it", "s", DROPPED, grep_cold, lower_is_better=True,
        many_files=True),
    Row("git-status", "git status of it", "s", "none, the second one", git_status, lower_is_better=True,
        many_files=True),
    Row("copy-tree", "cp -a of it", "s", "none", copy_tree, lower_is_better=True, many_files=True),
    Row("remove-tree", "rm -r of the copy", "s", "none, just copied", remove_tree, lower_is_better=True,
        many_files=True),
    Row("make", "make of 100 files of C", "s", "none, compiler just used", make, lower_is_better=True),
    Row("zstd", "zstd -b3 of what is destaged next", "GB/s/core", "none", zstd_alone,
        only=("ext4",)),
    Row("destage-new", "destage of new bytes, 2:1", "GB/s/core", "none, just written", destage_new,
        only=("foldfs",)),
    Row("zstd-mixed", "zstd -b3 of a tar of /usr", "GB/s/core", "none", zstd_mixed, only=("ext4",)),
    Row("destage-mixed", "destage of a tar of /usr", "GB/s/core", "none, just written", destage_mixed,
        only=("foldfs",)),
    Row("destage-known", "destage of bytes already stored", "GB/s/core", "none, just written", destage_known,
        limit=2.5, only=("foldfs",)),
    Row("destage-compared", "the same that are to be read and compared first, incompressible", "MB/s",
        "all, then copies written", destage_compared, [("device", 0.8)], only=("foldfs",)),
]
ROWS_BY_NAME = {row.name: row for row in ROWS}
ROWS_BY_NAME["destage-new"].goals = [("ext4:zstd", 0.9)]
ROWS_BY_NAME["destage-mixed"].goals = [("ext4:zstd-mixed", 0.9)]
FLOOR_ROWS = ("creates", "unlinks")


def rows_for(filesystem, names):
    """The rows of NAMES that make sense on a filesystem."""
    for row in ROWS:
        if row.name not in names:
            continue
        if row.only and (filesystem.rows_of or filesystem.name) not in row.only:
            continue
        if filesystem.name.startswith("floor") and row.name not in FLOOR_ROWS:
            continue
        if row.many_files and filesystem.max_files:
            continue
        yield row
