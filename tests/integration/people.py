# SPDX-License-Identifier: MIT
"""Runs a function in a child process, under another identity if asked, and brings its result back."""

import os
import pickle
import traceback

NOBODY = 65534
ALICE = (12001, 12001)
BOB = (12002, 12002)


def in_child(function, *args, uid=None, gid=None, groups=(), umask=None):
    """FUNCTION(*ARGS) in a forked child as (UID, GID, GROUPS): its result, or its OSError raised here."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(reader, writer, function, args, uid, gid, groups, umask)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        payload = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert payload, f"child died without a result, wait status {status:#x}"
    kind, value = pickle.loads(payload)
    if kind == "ok":
        return value
    if kind == "oserror":
        raise OSError(*value)
    raise AssertionError(f"in the child: {value}")


def as_user(who, function, *args, **more):
    """in_child as WHO = (uid, gid)."""
    return in_child(function, *args, uid=who[0], gid=who[1], **more)


def _child(reader, writer, function, args, uid, gid, groups, umask):
    try:
        os.close(reader)
        if umask is not None:
            os.umask(umask)
        if uid is not None:
            os.setgroups(list(groups))
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        message = ("ok", function(*args))
    except OSError as exc:
        message = ("oserror", (exc.errno, exc.strerror, exc.filename))
    except BaseException:
        message = ("other", traceback.format_exc())
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(pickle.dumps(message))
    os._exit(0)
