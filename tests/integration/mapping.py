# SPDX-License-Identifier: MIT
"""mmap(2) without the duplicate descriptor that Python's mmap keeps: the file can really be closed."""

import ctypes
import mmap
import os

from syscalls import check, libc

_MS_SYNC = 4

libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                      ctypes.c_int64]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.msync.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


libc.process_vm_readv.argtypes = [ctypes.c_int, ctypes.POINTER(IoVec), ctypes.c_ulong,
                                  ctypes.POINTER(IoVec), ctypes.c_ulong, ctypes.c_ulong]
libc.process_vm_readv.restype = ctypes.c_ssize_t


def mapped(path, flags=os.O_RDWR, **how):
    """A mapping of the whole file whose descriptors are all closed."""
    fd = os.open(path, flags)
    try:
        return Mapping(fd, os.fstat(fd).st_size, **how)
    finally:
        os.close(fd)


class Mapping:
    """Reads go through process_vm_readv first, so a page that cannot be had is a failed test and not
    a SIGBUS that takes the whole run along."""

    def __init__(self, fd, length, shared=True, writable=True):
        prot = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        kind = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
        self.length = length
        self.address = libc.mmap(None, length, prot, kind, fd, 0)
        if self.address == 2**64 - 1:
            check(-1)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        check(libc.munmap(self.address, self.length))

    def read(self, at, length):
        assert at + length <= self.length
        buffer = ctypes.create_string_buffer(length)
        local = IoVec(ctypes.cast(buffer, ctypes.c_void_p), length)
        remote = IoVec(self.address + at, length)
        got = check(libc.process_vm_readv(os.getpid(), ctypes.byref(local), 1,
                                          ctypes.byref(remote), 1, 0))
        assert got == length, f"only {got} of {length} bytes at {at} of the mapping can be read"
        return buffer.raw

    def touch(self, at):
        """Loads one byte as a program would, SIGBUS and all."""
        return ctypes.string_at(self.address + at, 1)

    def write(self, at, data):
        self.read(at, len(data))
        ctypes.memmove(self.address + at, data, len(data))

    def sync(self):
        check(libc.msync(self.address, self.length, _MS_SYNC))
