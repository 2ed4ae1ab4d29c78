# SPDX-License-Identifier: MIT
"""Extended attributes and POSIX ACLs."""

import errno
import os
import stat
import struct

import pytest

import env
import people

pytestmark = pytest.mark.asan

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 0x10, 0x20


def acl(*entries):
    """An ACL as the kernel reads it: (tag, permissions, id) each."""
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, perm, who if who is not None else 0xffffffff)
        for tag, perm, who in entries)


def full(user, named, named_id, group, mask, other):
    return acl((USER_OBJ, user, None), (USER, named, named_id), (GROUP_OBJ, group, None),
               (MASK, mask, None), (OTHER, other, None))


def make(work, kind):
    path = work / "x"
    if kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        os.symlink("t", path)
    else:
        path.write_text("x")
    return path


def fails(code, function, *args, **more):
    with pytest.raises(OSError) as caught:
        function(*args, **more)
    assert caught.value.errno == code, f"{caught.value}, not {errno.errorcode[code]}"


@pytest.mark.foldfs
def test_names_that_no_list_could_hold(work):
    """The kernel lists at most 64 KiB of names; ext4 keeps less. All that could be set can be read."""
    path = work / "f"
    path.touch()
    with pytest.raises(OSError) as caught:
        for number in range(1000):
            os.setxattr(path, f"user.{number:0200}", b"x")
    assert caught.value.errno == errno.ENOSPC
    names = os.listxattr(path)
    assert len(names) > 250
    os.setxattr(path, names[0], b"another")
    os.removexattr(path, names[1])
    os.setxattr(path, names[1], b"again")


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_set_get_list_remove(work, settle, kind):
    path = make(work, kind)
    values = {"user.empty": b"", "user.text": b"value", "user.bytes": bytes(range(256)),
              "trusted.t": b"secret", "user." + "n" * 250: b"long name"}
    for name, value in values.items():
        os.setxattr(path, name, value)
    settle()
    assert {n: os.getxattr(path, n) for n in os.listxattr(path)} == values
    os.setxattr(path, "user.text", b"longer than before")
    assert os.getxattr(path, "user.text") == b"longer than before"
    os.setxattr(path, "user.text", b"s")
    os.removexattr(path, "user.empty")
    settle()
    values["user.text"] = b"s"
    del values["user.empty"]
    assert {n: os.getxattr(path, n) for n in os.listxattr(path)} == values
    fails(errno.ENODATA, os.getxattr, path, "user.empty")
    fails(errno.ENODATA, os.removexattr, path, "user.empty")


def test_create_and_replace_flags(work):
    path = make(work, "file")
    fails(errno.ENODATA, os.setxattr, path, "user.a", b"1", os.XATTR_REPLACE)
    os.setxattr(path, "user.a", b"1", os.XATTR_CREATE)
    fails(errno.EEXIST, os.setxattr, path, "user.a", b"2", os.XATTR_CREATE)
    os.setxattr(path, "user.a", b"3", os.XATTR_REPLACE)
    assert os.getxattr(path, "user.a") == b"3"


@pytest.mark.foldfs
def test_values_up_to_64_kib(work, settle):
    path = make(work, "file")
    values = {f"user.v{n}": os.urandom(n) for n in (1, 255, 256, 4095, 4097, 30000, 65536)}
    for name, value in values.items():
        os.setxattr(path, name, value)
    settle()
    assert {n: os.getxattr(path, n) for n in os.listxattr(path)} == values
    fails(errno.E2BIG, os.setxattr, path, "user.big", bytes(65537))


def test_many_attributes(work, settle):
    path = make(work, "file")
    values = {f"user.number{n:03}": b"%d" % n for n in range(80)}
    for name, value in values.items():
        os.setxattr(path, name, value)
    settle()
    assert {n: os.getxattr(path, n) for n in os.listxattr(path)} == values


def test_small_buffer_is_erange(work):
    import ctypes
    import syscalls
    path = make(work, "file")
    os.setxattr(path, "user.a", b"0123456789")
    buf = ctypes.create_string_buffer(4)
    name = os.fsencode(path)
    assert syscalls.libc.getxattr(name, b"user.a", buf, 4) == -1
    assert ctypes.get_errno() == errno.ERANGE
    assert syscalls.libc.listxattr(name, buf, 4) == -1
    assert ctypes.get_errno() == errno.ERANGE
    assert syscalls.libc.getxattr(name, b"user.a", None, 0) == 10
    assert syscalls.libc.listxattr(name, None, 0) == len(b"user.a\0")


def test_unknown_namespace_is_refused(work):
    path = make(work, "file")
    for name in ("nonsense.a", "noprefix", "system.nonsense"):
        fails(errno.EOPNOTSUPP, os.setxattr, path, name, b"1")
        fails(errno.EOPNOTSUPP, os.getxattr, path, name)
        fails(errno.EOPNOTSUPP, os.removexattr, path, name)
    fails(errno.EINVAL, os.setxattr, path, "user.", b"1")
    fails(errno.ERANGE, os.setxattr, path, "user." + "n" * 251, b"1")
    assert os.listxattr(path) == []


def test_user_attributes_belong_to_files_and_directories(work):
    path = make(work, "symlink")
    fails(errno.EPERM, os.setxattr, path, "user.a", b"1", follow_symlinks=False)
    os.setxattr(path, "trusted.a", b"on a link", follow_symlinks=False)
    assert os.getxattr(path, "trusted.a", follow_symlinks=False) == b"on a link"


def test_trusted_is_for_root(work):
    path = make(work, "file")
    path.chmod(0o666)
    os.setxattr(path, "trusted.t", b"1")
    os.setxattr(path, "user.u", b"2")
    assert people.as_user(people.ALICE, os.listxattr, path) == ["user.u"]
    with pytest.raises(OSError) as caught:
        people.as_user(people.ALICE, os.setxattr, path, "trusted.x", b"1")
    assert caught.value.errno == errno.EPERM
    people.as_user(people.ALICE, os.setxattr, path, "user.x", b"1")
    path.chmod(0o600)
    with pytest.raises(OSError) as caught:
        people.as_user(people.ALICE, os.getxattr, path, "user.x")
    assert caught.value.errno == errno.EACCES


def test_unlink_takes_the_attributes_along(work):
    path = make(work, "file")
    os.setxattr(path, "user.a", b"old")
    os.unlink(path)
    path.write_text("new file of the same name")
    assert os.listxattr(path) == []


def test_attributes_move_with_rename_and_show_on_every_link(work, settle):
    path = make(work, "file")
    os.setxattr(path, "user.a", b"1")
    os.link(path, work / "second")
    os.rename(path, work / "renamed")
    settle()
    assert os.getxattr(work / "renamed", "user.a") == b"1"
    assert os.getxattr(work / "second", "user.a") == b"1"


# ---- ACLs


def test_acl_grants_what_the_mode_denies(work, settle):
    path = make(work, "file")
    os.chown(path, *people.ALICE)
    os.chmod(path, 0o600)
    os.setxattr(path, ACCESS, full(6, 4, people.BOB[0], 0, 4, 0))
    settle()
    assert os.getxattr(path, ACCESS) == full(6, 4, people.BOB[0], 0, 4, 0)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640, "the mask stands where the group's bits do"
    assert people.as_user(people.BOB, path.read_text) == "x"
    with pytest.raises(PermissionError):
        people.as_user(people.BOB, path.write_text, "y")
    with pytest.raises(PermissionError):
        people.as_user((12003, 12003), path.read_text)


def test_chmod_sets_the_mask(work, settle):
    path = make(work, "file")
    os.setxattr(path, ACCESS, full(6, 6, people.BOB[0], 4, 6, 0))
    os.chmod(path, 0o614)
    settle()
    assert os.getxattr(path, ACCESS) == full(6, 6, people.BOB[0], 4, 1, 4)
    with pytest.raises(PermissionError):
        people.as_user(people.BOB, path.read_text)


def test_minimal_acl_is_just_a_mode(work, settle):
    path = make(work, "file")
    os.setxattr(path, ACCESS, acl((USER_OBJ, 7, None), (GROUP_OBJ, 5, None), (OTHER, 1, None)))
    settle()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o751
    assert ACCESS not in os.listxattr(path)
    os.removexattr(path, ACCESS)      # what the mode expresses may be removed, too
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o751


@pytest.mark.parametrize("kind", ["file", "directory", "fifo"])
def test_default_acl_is_inherited(work, settle, kind):
    (work / "d").mkdir()
    os.setxattr(work / "d", DEFAULT, full(7, 7, people.BOB[0], 5, 7, 0))
    settle()
    new = work / "d" / "new"
    old = os.umask(0o077)
    try:
        if kind == "file":
            os.close(os.open(new, os.O_CREAT | os.O_WRONLY, 0o664))
        elif kind == "fifo":
            os.mkfifo(new, 0o664)
        else:
            os.mkdir(new, 0o775)
    finally:
        os.umask(old)
    settle()
    if kind == "directory":
        assert os.getxattr(new, ACCESS) == full(7, 7, people.BOB[0], 5, 7, 0)
        assert os.getxattr(new, DEFAULT) == full(7, 7, people.BOB[0], 5, 7, 0)
        assert stat.S_IMODE(os.stat(new).st_mode) == 0o770
    else:
        assert os.getxattr(new, ACCESS) == full(6, 7, people.BOB[0], 5, 6, 0)
        assert stat.S_IMODE(os.stat(new).st_mode) == 0o660, "a default ACL replaces the umask"
        assert DEFAULT not in os.listxattr(new)


def test_default_acl_only_on_directories(work):
    path = make(work, "file")
    fails(errno.EACCES, os.setxattr, path, DEFAULT, full(7, 7, 1, 7, 7, 0))


def test_invalid_acls_are_refused(work):
    path = make(work, "file")
    for blob in (b"\x02\0\0\0" + b"x", b"\x07\0\0\0", acl((USER, 7, 1)),
                 acl((OTHER, 7, None), (USER_OBJ, 7, None), (GROUP_OBJ, 7, None))):
        with pytest.raises(OSError) as caught:
            os.setxattr(path, ACCESS, blob)
        assert caught.value.errno in (errno.EINVAL, errno.EOPNOTSUPP)
    assert os.listxattr(path) == [] and path.read_text() == "x"


def test_setting_an_acl_needs_ownership(work):
    path = make(work, "file")
    path.chmod(0o666)
    with pytest.raises(PermissionError):
        people.as_user(people.BOB, os.setxattr, path, ACCESS, full(7, 7, people.BOB[0], 7, 7, 7))


def test_setfacl_and_getfacl(work, settle):
    env.need_tool("setfacl", "getfacl")
    (work / "d").mkdir()
    (work / "d" / "f").write_text("x")
    env.run("setfacl", "-R", "-m", "u:12001:rwX,g:12002:r-X,d:u:12001:rwX", work / "d")
    settle()
    text = env.run("getfacl", "-R", "-n", "-p", work / "d").stdout
    assert text.count("user:12001:rw") == 3 and text.count("group:12002:r") == 2
    assert "default:user:12001:rwx" in text
    env.run("setfacl", "-R", "-b", work / "d")
    assert os.listxattr(work / "d") == [] and os.listxattr(work / "d" / "f") == []
