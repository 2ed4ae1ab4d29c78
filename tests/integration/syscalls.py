# SPDX-License-Identifier: MIT
"""System calls that Python's os module lacks, raising OSError like the ones it has."""

import ctypes
import ctypes.util
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)

AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400
AT_EMPTY_PATH = 0x1000

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

FALLOC_KEEP_SIZE = 0x01
FALLOC_PUNCH_HOLE = 0x02
FALLOC_COLLAPSE_RANGE = 0x08
FALLOC_ZERO_RANGE = 0x10

O_TMPFILE = getattr(os, "O_TMPFILE", 0o20200000)

_SYS_io_setup, _SYS_io_destroy, _SYS_io_getevents, _SYS_io_submit = 206, 207, 208, 209
_SYS_name_to_handle_at = 303
_SYS_open_by_handle_at = 304

_i64 = ctypes.c_int64
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, _i64, _i64]
libc.renameat2.argtypes = [
    ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
libc.linkat.argtypes = [
    ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
libc.opendir.argtypes = [ctypes.c_char_p]
libc.opendir.restype = ctypes.c_void_p
libc.readdir.argtypes = [ctypes.c_void_p]
libc.readdir.restype = ctypes.c_void_p
libc.telldir.argtypes = [ctypes.c_void_p]
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
libc.closedir.argtypes = [ctypes.c_void_p]
libc.syncfs.argtypes = [ctypes.c_int]


def check(result):
    """RESULT, or the OSError that errno names when it is -1."""
    if result == -1:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))
    return result


def renameat2(src, dst, flags):
    check(libc.renameat2(AT_FDCWD, os.fsencode(src), AT_FDCWD, os.fsencode(dst), flags))


def fallocate(fd, mode, offset, length):
    check(libc.fallocate(fd, mode, offset, length))


def link_fd(fd, dst):
    """Gives the file behind FD (an O_TMPFILE, say) the name DST."""
    src = b"/proc/self/fd/%d" % fd
    check(libc.linkat(AT_FDCWD, src, AT_FDCWD, os.fsencode(dst), AT_SYMLINK_FOLLOW))


def syncfs(fd):
    check(libc.syncfs(fd))


def file_handle(path):
    """(mount id, opaque handle) of PATH, as a file server would keep it."""
    header, room = 8, 128
    buf = ctypes.create_string_buffer(struct.pack("Ii", room, 0) + bytes(room), header + room)
    mount_id = ctypes.c_int()
    check(libc.syscall(_SYS_name_to_handle_at, AT_FDCWD, ctypes.c_char_p(os.fsencode(path)), buf,
                       ctypes.byref(mount_id), 0))
    used = struct.unpack_from("I", buf.raw)[0]
    return mount_id.value, buf.raw[:header + used]


def open_handle(mount_path, handle, flags):
    """A descriptor of the file that HANDLE names in the filesystem mounted at MOUNT_PATH."""
    mount_fd = os.open(mount_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        buf = ctypes.create_string_buffer(handle, len(handle))
        return check(libc.syscall(_SYS_open_by_handle_at, mount_fd, buf, flags))
    finally:
        os.close(mount_fd)


class AsyncWriter:
    """Writes past whoever submits them (Linux aio), one at a time. DATA is anything with a buffer."""

    def __init__(self):
        self.context = ctypes.c_ulong()
        check(libc.syscall(_SYS_io_setup, 1, ctypes.byref(self.context)))

    def write(self, fd, data, offset):
        """Submits a write and waits for it to be done; returns what the call would have returned."""
        address = ctypes.addressof(ctypes.c_char.from_buffer(data))
        block = ctypes.create_string_buffer(
            struct.pack("QIIHHIQQqQII", 0, 0, 0, 1, 0, fd, address, len(data), offset, 0, 0, 0))
        blocks = (ctypes.c_void_p * 1)(ctypes.addressof(block))
        check(libc.syscall(_SYS_io_submit, self.context, 1, blocks))
        event = ctypes.create_string_buffer(32)
        check(libc.syscall(_SYS_io_getevents, self.context, 1, 1, event, None))
        return struct.unpack("QQqq", event.raw)[2]

    def close(self):
        check(libc.syscall(_SYS_io_destroy, self.context))


class DirStream:
    """A C directory stream, for telldir and seekdir."""

    def __init__(self, path):
        self._stream = libc.opendir(os.fsencode(path))
        if not self._stream:
            check(-1)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        libc.closedir(self._stream)

    def tell(self):
        return libc.telldir(self._stream)

    def seek(self, cookie):
        libc.seekdir(self._stream, cookie)

    def next(self):
        """(name, inode, type) of the next entry, or None at the end."""
        ctypes.set_errno(0)
        entry = libc.readdir(self._stream)
        if not entry:
            if ctypes.get_errno():
                check(-1)
            return None
        ino, _, reclen, kind = struct.unpack("=QqHB", ctypes.string_at(entry, 19))
        return ctypes.string_at(entry + 19), ino, kind

    def names(self):
        """The remaining names, without . and .."""
        found = []
        while (entry := self.next()) is not None:
            if entry[0] not in (b".", b".."):
                found.append(entry[0])
        return found
