# SPDX-License-Identifier: MIT
"""How golden pools are damaged: a table of edits, each at a place that the format names."""

import os
import shutil
import struct

import superblock

PAGE = 4096         # of LMDB, and the size of a copy of the superblock
PACK = "packs/%016x.pack"
DUMP = "packs/dump-%016x"
LOG = "wal/wal-%016x"
FRAME, ENTRY, FOOTER_ENTRY, FOOTER_TAIL = 40, 48, 24, 40
LOG_FRAMES, LOG_FRAME = 4096, 40


# ---- places: functions of a file's bytes

def at(offset):
    return lambda data: offset if offset >= 0 else len(data) + offset


def pack_frames(data):
    """(offset, codec, length of the head) of each frame that the footer lists."""
    count = struct.unpack_from("<Q", data, len(data) - FOOTER_TAIL + 16)[0]
    first = len(data) - FOOTER_TAIL - count * FOOTER_ENTRY
    for number in range(count):
        offset = struct.unpack_from("<Q", data, first + number * FOOTER_ENTRY)[0]
        yield offset, data[offset + 4], FRAME + ENTRY * struct.unpack_from("<I", data, offset + 8)[0]


def in_frame(codec, inside=0, payload=False):
    """In the first frame with this codec: in its head, or in the middle of its payload."""
    def place(data):
        offset, _, head = next(frame for frame in pack_frames(data) if frame[1] == codec)
        length = struct.unpack_from("<I", data, offset + 16)[0]
        return offset + (head + length // 2 if payload else inside)
    return place


def log_frames(data):
    offset = LOG_FRAMES
    while offset + LOG_FRAME < len(data) and struct.unpack_from("<Q", data, offset + 16)[0]:
        yield offset
        offset += (LOG_FRAME + struct.unpack_from("<I", data, offset + 4)[0] + 7) // 8 * 8


def in_log(number):
    """In the payload of a frame of the log, by its place in the segment."""
    return lambda data: list(log_frames(data))[number] + LOG_FRAME + 3


# ---- edits: functions of the pool's path and of one that gives the path of another golden pool

def remove(name):
    def edit(pool, _):
        path = pool / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return edit


def cut(name, where):
    def edit(pool, _):
        data = (pool / name).read_bytes()
        os.truncate(pool / name, where(data))
    return edit


def change(name, where, function):
    def edit(pool, _):
        data = bytearray((pool / name).read_bytes())
        place = where(data)
        function(data, place)
        with open(pool / name, "r+b") as file:
            file.seek(place // PAGE * PAGE)
            file.write(data[place // PAGE * PAGE:(place + 2 * PAGE)])
    return edit


def flip(name, *places):
    def one(data, place):
        data[place] ^= 0x40
    return [change(name, where, one) for where in places]


def put(name, where, value):
    return change(name, where, lambda data, place: data.__setitem__(
        slice(place, place + len(value)), value))


def write(name, value):
    return lambda pool, _: (pool / name).write_bytes(value)


def take(name, other, source=None):
    """The file or directory that another golden pool has there."""
    def edit(pool, golden):
        target, origin = pool / name, golden(other) / (source or name)
        if target.is_dir():
            shutil.rmtree(target)
        shutil.copytree(origin, target) if origin.is_dir() else shutil.copy2(origin, target)
    return edit


def rename(name, new):
    return lambda pool, _: (pool / name).rename(pool / new)


def swap(one, two):
    return [rename(one, "aside"), rename(two, one), rename("aside", two)]


def directory(name):
    return lambda pool, _: (pool / name).mkdir()


def forge(field, value):
    """Both copies of the superblock, as somebody would write them who means it."""
    def edit(pool, _):
        data = bytearray((pool / "super").read_bytes())
        for start in (0, PAGE):
            copy = data[start:start + PAGE]
            superblock.put(copy, field, value)
            superblock.seal(copy)
            data[start:start + PAGE] = copy
        (pool / "super").write_bytes(data)
    return edit


def reseal(name, where, value, size, covers=False):
    """A header's field, under a sum that is right: that of the SIZE bytes before it; COVERS: it seeds
    that of all behind the sum."""
    def edit(pool, _):
        data = bytearray((pool / name).read_bytes())
        data[where:where + len(value)] = value
        total = superblock.xxh3(bytes(data[:size]))
        if covers:
            total = superblock.xxh3(bytes(data[size + 8:]), total)
        assert (pool / name).read_bytes()[size:size + 8] != struct.pack("<Q", total)
        struct.pack_into("<Q", data, size, total)
        with open(pool / name, "r+b") as file:
            file.write(data[:size + 8])
    return edit


def zero_pages_with(name, needle):
    """Every page of the file that holds these bytes."""
    def edit(pool, _):
        data = bytearray((pool / name).read_bytes())
        found = 0
        while (found := data.find(needle, found)) >= 0:
            data[found // PAGE * PAGE:(found // PAGE + 1) * PAGE] = bytes(PAGE)
        (pool / name).write_bytes(data)
    return edit


def flip_behind(name, needle, distance):
    """A bit behind each place where these bytes are."""
    def edit(pool, _):
        data, found = bytearray((pool / name).read_bytes()), -1
        while (found := data.find(needle, found + 1)) >= 0:
            data[found + len(needle) + distance] ^= 0x40
        (pool / name).write_bytes(data)
    return edit


NEWER = struct.pack("<I", 2)
STAGED, NATIVE = "staging/1a.2", "staging/1e.3"  # of `changed`, over a map, and of `native`
MDB = "index/data.mdb"

# What is done to which pool. The names are those of the files in errors/.
DAMAGES = {
    # the superblock
    "super-missing": ("files", [remove("super")]),
    "super-empty": ("files", [cut("super", at(0))]),
    "super-cut-in-the-first-copy": ("files", [cut("super", at(100))]),
    "super-second-copy-missing": ("files", [cut("super", at(PAGE))]),
    "super-first-copy": ("files", flip("super", at(100))),
    "super-second-copy": ("files", flip("super", at(PAGE + 100))),
    "super-both-copies": ("files", flip("super", at(100), at(PAGE + 100))),
    "super-is-a-directory": ("files", [remove("super"), directory("super")]),
    "super-newer-version": ("files", [forge("version", 2)]),
    "super-version-zero": ("files", [forge("version", 0)]),
    "super-unknown-digest": ("files", [forge("digest", 7)]),
    "super-unknown-chunker": ("files", [forge("chunker", 9)]),
    "super-unknown-incompatible-feature": ("files", [forge("incompat", 1 << 40)]),
    "super-unknown-read-only-feature": ("files", [forge("ro_compat", 1 << 40)]),
    "super-unknown-compatible-feature": ("files", [forge("compat", 1 << 40)]),
    "super-of-another-pool": ("files", [take("super", "packs")]),
    # the lock, the configuration, what can be missing
    "lock-missing": ("files", [remove("lock")]),
    "lock-is-a-directory": ("files", [remove("lock"), directory("lock")]),
    "conf-missing": ("files", [remove("foldfs.conf")]),
    "conf-unknown-option": ("files", [write("foldfs.conf", b"compress = hard\n")]),
    "conf-bad-value": ("files", [write("foldfs.conf", b"destage_delay = whenever\n")]),
    "conf-is-a-directory": ("files", [remove("foldfs.conf"), directory("foldfs.conf")]),
    "control-is-a-file": ("files", [write("control", b"no socket")]),
    "index-directory-missing": ("files", [remove("index")]),
    "wal-directory-missing": ("files", [remove("wal")]),
    "staging-directory-missing": ("files", [remove("staging")]),
    "packs-directory-missing": ("files", [remove("packs")]),
    "cache-directory-missing": ("files", [remove("cache")]),
    # the log
    "log-of-another-pool": ("killed", [take("wal", "packs")]),
    "log-of-another-pool-under-a-clean-one": ("files", [take("wal", "packs")]),
    "log-owner-missing": ("killed", [remove("wal/owner")]),
    "log-owner-altered": ("killed", flip("wal/owner", at(3))),
    "log-gone-from-a-clean-pool": ("files", [remove("wal"), directory("wal")]),
    "log-gone-from-a-killed-pool": ("killed", [remove("wal"), directory("wal")]),
    "log-gone-and-no-index": ("packs", [remove("wal"), directory("wal"), remove(MDB)]),
    "log-gone-and-index-rotten": ("packs", [remove("wal"), directory("wal"),
                                            *flip(MDB, at(16), at(PAGE + 16))]),
    "log-gone-and-no-index-of-a-clean-pool": ("files", [remove("wal"), directory("wal"), remove(MDB)]),
    "log-gone-and-a-rotten-row": ("files", [
        remove("wal"), directory("wal"), flip_behind(MDB, b"seen seen seen", 1)]),
    "log-segment-missing": ("killed", [remove(LOG % 2)]),
    "log-segment-empty": ("killed", [cut(LOG % 2, at(0))]),
    "log-segment-of-another-pool": ("killed", [take(LOG % 2, "packs")]),
    "log-old-segment-missing": ("killed", [remove(LOG % 1)]),
    "log-header-altered": ("killed", flip(LOG % 2, at(20))),
    "log-segments-swapped": ("killed", swap(LOG % 1, LOG % 2)),
    "log-newer-version": ("killed", [reseal(LOG % 2, 8, struct.pack("<I", 3), 72)]),
    "log-first-frame": ("killed", flip(LOG % 2, in_log(0))),
    "log-middle-frame": ("killed", flip(LOG % 2, in_log(6))),
    "log-last-frame": ("killed", flip(LOG % 2, in_log(-1))),
    "log-cut-in-the-middle": ("killed", [cut(LOG % 2, in_log(6))]),
    # the index
    "index-missing": ("files", [remove(MDB)]),
    "index-empty": ("files", [cut(MDB, at(0))]),
    "index-cut-in-half": ("files", [cut(MDB, lambda data: len(data) // 2)]),
    "index-first-meta-page": ("files", flip(MDB, at(16))),
    "index-second-meta-page": ("files", flip(MDB, at(PAGE + 16))),
    "index-both-meta-pages": ("files", flip(MDB, at(16), at(PAGE + 16))),
    "index-of-another-pool": ("files", [take("index", "packs")]),
    "index-page-of-names": ("files", [zero_pages_with(MDB, b"entry 77")]),
    "index-page-of-names-with-a-dump": ("packs", [zero_pages_with(MDB, b"noise1")]),
    "index-value-of-an-attribute": ("files", [
        flip_behind(MDB, b"seen seen seen", 1)]),
    "index-name-altered": ("packs", [flip_behind(MDB, b"text0", 0)]),
    "index-missing-with-a-dump": ("packs", [remove(MDB)]),
    "index-missing-newest-dump-altered": ("packs", [remove(MDB), *flip(DUMP % 3, at(100))]),
    "index-missing-all-dumps-altered": ("packs", [remove(MDB), *flip(DUMP % 2, at(100)),
                                                  *flip(DUMP % 3, at(100))]),
    "log-cut-and-no-index": ("packs", [remove(MDB), cut(LOG % 3, in_log(2))]),
    "index-lock-file-is-noise": ("files", [write("index/lock.mdb", b"?" * 8192)]),
    "filter-altered": ("files", flip("index/filter", at(40), at(5000))),
    "filter-of-another-pool": ("files", [take("index/filter", "packs")]),
    "filter-cut": ("files", [cut("index/filter", at(1000))]),
    # dumps
    "dump-newer-version": ("packs", [reseal(DUMP % 3, 8, NEWER, 56), remove(MDB)]),
    "dump-of-another-pool": ("packs", [take(DUMP % 3, "fine", DUMP % 1), remove(MDB)]),
    "dump-footer-altered": ("packs", [*flip(DUMP % 3, at(-4)), remove(MDB)]),
    # packs
    "pack-missing": ("packs", [remove(PACK % 1)]),
    "pack-empty": ("packs", [cut(PACK % 1, at(0))]),
    "pack-cut-in-half": ("packs", [cut(PACK % 1, lambda data: len(data) // 2)]),
    "pack-of-another-pool": ("packs", [take(PACK % 1, "fine")]),
    "pack-of-another-pool-that-looks-alike": ("packs", [
        reseal(PACK % 1, 16, b"0123456789abcdef", 56)]),
    "pack-open-of-another-pool": ("packs", [reseal(PACK % 3, 16, b"0123456789abcdef", 56)]),
    "packs-swapped": ("packs", swap(PACK % 1, PACK % 2)),
    "pack-header-altered": ("packs", flip(PACK % 1, at(24))),
    "pack-newer-version": ("packs", [reseal(PACK % 1, 8, NEWER, 56)]),
    "pack-unknown-flag": ("packs", [reseal(PACK % 2, 12, struct.pack("<I", 4), 56)]),
    "pack-open-newer-version": ("packs", [reseal(PACK % 3, 8, NEWER, 56)]),
    "pack-newer-version-and-no-index": ("packs", [reseal(PACK % 1, 8, NEWER, 56), remove(MDB)]),
    "pack-footer-altered": ("packs", flip(PACK % 1, at(-20))),
    "pack-footer-missing": ("packs", [cut(PACK % 1, at(-FOOTER_TAIL))]),
    "pack-compressed-payload": ("packs", flip(PACK % 1, in_frame(1, payload=True))),
    "pack-raw-payload": ("files", flip(PACK % 2, in_frame(0, payload=True))),
    "pack-frame-head-magic": ("packs", flip(PACK % 1, in_frame(1, 1))),
    "pack-frame-head-digest": ("packs", flip(PACK % 1, in_frame(1, FRAME + 20))),
    "pack-raw-frame-head": ("files", flip(PACK % 2, in_frame(0, FRAME + 20))),
    "pack-open-header-altered": ("packs", flip(PACK % 3, at(24))),
    "pack-open-cut": ("packs", [cut(PACK % 3, at(-3000))]),
    "pack-foreign-file": ("packs", [write("packs/notes.txt", b"mine")]),
    "pack-unknown": ("packs", [take(PACK % 9, "fine", PACK % 1)]),
    # staging
    "staging-file-missing": ("killed", [remove(STAGED)]),
    "staging-file-cut": ("killed", [cut(NATIVE, at(1000))]),
    "staging-file-of-another-generation": ("killed", [rename(STAGED, "staging/1.999")]),
    "staging-file-of-nobody": ("files", [write("staging/abc.7", b"who am I")]),
    # the cache
    "cache-table-of-another-pool": ("files", [reseal("cache/table", 16, b"0123456789abcdef", 56,
                                                     covers=True)]),
    "cache-table-altered": ("files", flip("cache/table", at(70))),
    "cache-newer-version": ("files", [reseal("cache/table", 8, NEWER, 56, covers=True)]),
    "cache-region-zeroed": ("files", [lambda pool, _: (pool / "cache/region").write_bytes(
        bytes((pool / "cache/region").stat().st_size))]),
    "cache-region-cut": ("files", [cut("cache/region", at(10_000))]),
}
