# SPDX-License-Identifier: MIT
"""Data for tests: reproducible, and told apart by its seed at any offset."""

import functools
import random

WORDS = [b"fold", b"chunk", b"pack", b"frame", b"extent", b"segment", b"digest", b"inode"]


def noise(length, seed=1):
    """LENGTH incompressible bytes."""
    return random.Random(seed).randbytes(length)


def text(length, seed=1):
    """LENGTH bytes of words, which compress about threefold."""
    line = line_of(min(length // 6 + 2, 4096), seed)    # a word and its blank have six bytes or more
    return (line * (length // len(line) + 1))[:length]


@functools.lru_cache(maxsize=64)
def line_of(count, seed):
    rng = random.Random(seed)
    return b" ".join(rng.choice(WORDS) + b"%d" % rng.randrange(1000) for _ in range(count))


class Shadow:
    """A bytearray that is written like a file, to know what the file must hold."""

    def __init__(self, data=b""):
        self.data = bytearray(data)

    def write(self, offset, data):
        if offset > len(self.data):
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset:offset + len(data)] = data

    def truncate(self, size):
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))

    def clear(self, offset, length):
        """What punching a hole or zeroing does within the size."""
        end = min(offset + length, len(self.data))
        if offset < end:
            self.data[offset:end] = bytes(end - offset)
