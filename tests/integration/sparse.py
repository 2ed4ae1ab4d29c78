# SPDX-License-Identifier: MIT
"""Where the data of a sparse file lies, by SEEK_DATA and SEEK_HOLE."""

import errno
import os


def data_ranges(fd):
    """[(start, end)] of what SEEK_DATA and SEEK_HOLE call data."""
    size = os.fstat(fd).st_size
    ranges, at = [], 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno != errno.ENXIO:
                raise
            break
        end = os.lseek(fd, start, os.SEEK_HOLE)
        assert at <= start < end <= size, f"SEEK_DATA({at}) = {start}, SEEK_HOLE = {end} of {size}"
        ranges.append((start, end))
        at = end
    return ranges


def nonzero_blocks(fd, size, block=1 << 16):
    """(offset, bytes) of the aligned blocks that hold anything but zeros."""
    zeros = bytes(block)
    last = -1
    for start, end in data_ranges(fd):
        at = max(start // block * block, last)
        while at < end:
            data = os.pread(fd, min(block, size - at), at)
            if data != zeros[:len(data)]:
                yield at, data
            at += block
        last = at


def covers(ranges, start, end):
    """Whether [START, END) lies in data ranges without a gap."""
    at = start
    for low, high in ranges:
        if low <= at < high:
            at = high
        if at >= end:
            return True
    return at >= end


def touches(ranges, start, end):
    return any(low < end and start < high for low, high in ranges)
