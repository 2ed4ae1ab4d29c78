# SPDX-License-Identifier: MIT
"""Data for tests: reproducible, and told apart by its seed at any offset."""

import random


def noise(length, seed=1):
    """LENGTH incompressible bytes."""
    return random.Random(seed).randbytes(length)


def text(length, seed=1):
    """LENGTH bytes of words, which compress about threefold."""
    words = [b"fold", b"chunk", b"pack", b"frame", b"extent", b"segment", b"digest", b"inode"]
    rng = random.Random(seed)
    line = b" ".join(rng.choice(words) + b"%d" % rng.randrange(1000) for _ in range(4096))
    return (line * (length // len(line) + 1))[:length]


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
