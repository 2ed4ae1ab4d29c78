# SPDX-License-Identifier: MIT
"""Fields of a superblock copy, as foldfs-format(5) lays them out, for tests that forge one."""

import ctypes
import struct

SIZE = 4096
FIELDS = {"magic": ("<Q", 0), "version": ("<I", 8), "digest": ("<I", 12), "compat": ("<Q", 32),
          "ro_compat": ("<Q", 40), "incompat": ("<Q", 48), "chunker": ("<I", 64)}
SUM_AT = SIZE - 8

_xxhash = ctypes.CDLL("libxxhash.so.0")
_xxh3 = _xxhash.XXH3_64bits_withSeed
_xxh3.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
_xxh3.restype = ctypes.c_uint64


def get(copy, name):
    return struct.unpack_from(*FIELDS[name][:1], copy, FIELDS[name][1])[0]


def put(copy, name, value):
    struct.pack_into(FIELDS[name][0], copy, FIELDS[name][1], value)


def xxh3(data, seed=0):
    return _xxh3(data, len(data), seed)


def sum_of(copy):
    return xxh3(bytes(copy[:SUM_AT]))


def seal(copy):
    """Makes the checksum right again."""
    struct.pack_into("<Q", copy, SUM_AT, sum_of(copy))


def is_sealed(copy):
    return struct.unpack_from("<Q", copy, SUM_AT)[0] == sum_of(copy)
