# SPDX-License-Identifier: MIT
"""The oracle itself: it accepts what may be, and sees what may not."""

import pytest

from actors import pattern
from history import History, Op, Violation

OLD, NEW = pattern("old", 2000), pattern("new", 3000)


def history(*ops):
    made = History("h")
    made.ops = list(ops)
    return made


def file(content, inode=1):
    return ("f", inode, content)


CREATED = (Op("create", 1, ("f",)), Op("write", 1, data=OLD))
SYNCED = CREATED + (Op("fsync", 1, files=("f",)),)
REPLACED = SYNCED + (Op("create", 2, ("t",)), Op("write", 2, data=NEW), Op("close", 2),
                     Op("rename", 2, ("t", "f"), files=("f",)))
REWRITTEN = SYNCED + (Op("empty", 1), Op("write", 1, data=NEW), Op("close", 1))
HALF = SYNCED + (Op("empty", 1), Op("write", 1, data=NEW[:1024]), Op("sync"))
WHOLE = HALF + (Op("write", 1, at=1024, data=NEW[1024:]), Op("close", 1))
MOVED = (Op("mkdir", paths=("d",)), Op("create", 1, ("d/f",)), Op("rename", -1, ("d", "e")),
         Op("fsync", 1, files=("e/f",)))


@pytest.mark.parametrize("ops, found", [
    (CREATED, {}),
    (CREATED, {"f": file(b"")}),
    (CREATED, {"f": file(OLD[:1000])}),
    (CREATED, {"f": file(bytes(2000))}),
    (SYNCED, {"f": file(OLD)}),
    (SYNCED + (Op("write", 1, data=NEW[:512]),), {"f": file(NEW[:512] + OLD[512:])}),
    (REPLACED, {"f": file(OLD), "t": file(b"", 2)}),
    (REPLACED, {"f": file(NEW, 2)}),
    (REWRITTEN, {"f": file(OLD)}),
    (REWRITTEN, {"f": file(NEW)}),
    (HALF, {"f": file(NEW[:1024])}),
    (WHOLE, {"f": file(NEW[:1024])}),
    (WHOLE, {"f": file(NEW[:1024] + bytes(512))}),
    (WHOLE, {"f": file(NEW)}),
    (CREATED + (Op("sync"),), {"f": file(OLD)}),
    (CREATED + (Op("sync"), Op("unlink", paths=("f",))), {}),
    (MOVED, {"e": ("d", None, None), "e/f": file(b"")}),
])
def test_what_may_be_is_accepted(ops, found):
    history(*ops).check(found, len(ops), len(ops))


@pytest.mark.parametrize("ops, found", [
    (CREATED, {"g": file(b"")}),
    (CREATED, {"f": file(pattern("other", 2000))}),
    (CREATED, {"f": file(OLD + b"more")}),
    (SYNCED, {}),
    (SYNCED, {"f": file(OLD[:1999])}),
    (SYNCED, {"f": file(OLD[:512] + bytes(512) + OLD[1024:])}),
    (SYNCED + (Op("write", 1, data=NEW[:512]),), {"f": file(NEW[:1024] + OLD[1024:])}),
    (REPLACED, {"f": file(b"", 2)}),
    (REPLACED, {"f": file(NEW[:2999], 2)}),
    (REPLACED, {"t": file(NEW, 2)}),
    (REWRITTEN, {"f": file(b"")}),
    (REWRITTEN, {"f": file(NEW[:512] + OLD[512:])}),
    (REWRITTEN, {"f": file(NEW[:2999])}),
    (HALF, {"f": file(OLD)}),
    (HALF, {"f": file(b"")}),
    (WHOLE, {"f": file(OLD)}),
    (WHOLE, {"f": file(NEW[:512])}),
    (CREATED + (Op("sync"),), {}),
    (CREATED + (Op("sync"),), {"f": file(b"")}),
    (CREATED + (Op("sync"), Op("write", 1, data=NEW[:512])), {"f": file(b"")}),
    (MOVED, {"d": ("d", None, None), "d/f": file(b"")}),
])
def test_what_may_not_be_is_seen(ops, found):
    with pytest.raises(Violation):
        history(*ops).check(found, len(ops), len(ops))


@pytest.mark.parametrize("ops, found", [
    (CREATED + (Op("sync"),), {}),
    (HALF, {"f": file(OLD)}),
    (HALF, {"f": file(NEW[:1024])}),
])
def test_a_sync_under_way_may_have_done_it_or_not(ops, found):
    history(*ops).check(found, len(ops) - 1, len(ops))


@pytest.mark.parametrize("ops, found", [
    (CREATED + (Op("failed sync"),), {}),
    (CREATED + (Op("failed sync"), Op("mkdir", paths=("d",))), {}),
    (HALF[:-1] + (Op("failed sync"),), {"f": file(OLD)}),
    (HALF[:-1] + (Op("failed sync"),), {"f": file(NEW[:1024])}),
])
def test_a_sync_that_failed_promises_nothing(ops, found):
    history(*ops).check(found, len(ops), len(ops))
