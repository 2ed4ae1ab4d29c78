# SPDX-License-Identifier: MIT
"""Fixtures. Most tests take `work`, a fresh directory in a mount that the tests of a file share;
those that need their own pool, options or crashes take `mount` or make one with `new_mount`.

`work` comes once per I/O mode. `settle(path…)` comes once per state a file can be in (still staged,
destaged, destaged and mounted again), so one test shows a promise for all of them.
"""

import ctypes
import os
import shutil
import tempfile
from pathlib import Path

import pytest

import env
import loops
import pools
import syscalls
from replicas import close_server, machines, replica_bucket  # noqa: F401 (fixtures)

PR_SET_CHILD_SUBREAPER = 36


def pytest_configure(config):
    config.addinivalue_line("markers", "asan: also run on the sanitizer build")
    config.addinivalue_line("markers", "full: takes long; left out of the quick run")
    config.addinivalue_line("markers", "foldfs: about foldfs itself, meaningless on the reference")
    # Daemons become our children when mount.foldfs returns, so their exit status can be seen.
    syscalls.libc.prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0)


def pytest_collection_modifyitems(config, items):
    left_out = []
    if env.REFERENCE:
        left_out = [item for item in items if item.get_closest_marker("foldfs")]
    elif env.SLOW > 1:
        left_out = superfluous(items)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def superfluous(items):
    """What tells nothing more where everything is slow (sanitizers): there a value that a test is run with
    meets each mode and each state, and not every pair of them. Other values meet the other pairs.
    (Dealt out by the parity of bits: every other one would always be the same of a second parameter.)"""
    found, numbers = [], {}
    for item in items:
        given = dict(item.callspec.params) if hasattr(item, "callspec") else {}
        if "settle" not in given or "shared_mount" not in given:
            continue
        place = env.MODES.index(given.pop("shared_mount")) + state_params().index(given.pop("settle"))
        values = numbers.setdefault((item.path, item.originalname), {})
        number = values.setdefault(repr(given), len(values))
        if given and (place + number.bit_count()) % 2:
            found.append(item)
    return found


def pytest_report_header():
    return ("foldfs: a plain directory as reference" if env.REFERENCE
            else f"foldfs: {env.BUILD}, modes {','.join(env.MODES)}")


@pytest.fixture(scope="session", autouse=True)
def machine():
    """What every test relies on; cores land in the daemon's own directory."""
    os.umask(0o022)
    env.need_root()
    if not env.REFERENCE:
        env.need_fuse()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    item.failed = getattr(item, "failed", False) or report.failed


@pytest.fixture(scope="session")
def base(request, tmp_path_factory):
    """Where everything happens: unlike tmp_path, a place that other users may enter."""
    path = tmp_path_factory.getbasetemp()
    path.chmod(0o755)
    if all(parent.stat().st_mode & 0o001 for parent in path.parents):
        yield path
        return
    path = Path(tempfile.mkdtemp(prefix="foldfs-test-"))
    path.chmod(0o755)
    yield path
    if not request.session.testsfailed:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def home(base, request):
    """A directory for one test, kept when the test fails."""
    path = Path(tempfile.mkdtemp(prefix=plain_name(request) + ".", dir=base))
    path.chmod(0o755)
    yield path
    if not getattr(request.node, "failed", False):
        shutil.rmtree(path, ignore_errors=True)


def plain_name(request):
    return "".join(c if c.isalnum() else "_" for c in request.node.name)[:60]


@pytest.fixture
def pool(home):
    return pools.Pool(home)


@pytest.fixture
def new_mount(home):
    """Function that makes a pool, mounts it with options and unmounts it after the test.

    mkfs=: options of mkfs.foldfs; name=: a directory for a second pool."""
    made = []

    def make(mkfs=None, name="first", **options):
        place = home / name
        place.mkdir()
        kind = pools.ReferenceMount if env.REFERENCE else pools.Mount
        mount = kind(pools.Pool(place, **(mkfs or {})), **options)
        made.append(mount)
        return mount.start()

    yield make
    pools.stop_all(made)


@pytest.fixture
def mount(new_mount):
    return new_mount()


@pytest.fixture
def loop(home):
    """A disk of 400 MB; whatever is on it has to end before it does."""
    made = loops.Loop(home, 400 << 20)
    yield made
    made.close()


def mode_params():
    return [pytest.param("reference")] if env.REFERENCE else [pytest.param(m) for m in env.MODES]


@pytest.fixture(scope="module", params=mode_params())
def shared_mount(request, base):
    """One mount for a whole file of tests, in each I/O mode. Mounted again when a test breaks it."""
    home = Path(tempfile.mkdtemp(prefix="shared.", dir=base))
    home.chmod(0o755)
    kind = pools.ReferenceMount if env.REFERENCE else pools.Mount
    options = {} if env.REFERENCE else {"mode": request.param}
    mount = kind(pools.Pool(home), **options)
    mount.mode = request.param
    mount.start()
    yield mount
    pools.stop_all([mount])
    if not request.session.testsfailed:
        shutil.rmtree(home, ignore_errors=True)


def ensure_alive(mount):
    """Starts a daemon again that an earlier test lost (that test has failed already)."""
    if not mount.reference and (mount.pid is None or not pools.alive(mount.pid)):
        try:
            mount.stop()
        except AssertionError:
            pass
        mount.start()


@pytest.fixture
def work(shared_mount, request):
    """A fresh, empty directory inside the shared mount."""
    ensure_alive(shared_mount)
    path = shared_mount.dir / plain_name(request)
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    yield path
    if not shared_mount.reference:
        if not pools.alive(shared_mount.pid):
            shared_mount.stop()
        shared_mount.check_log()


def state_params():
    if env.REFERENCE:
        return ["staged"]
    # where everything is slow (sanitizers), the last stands for the one before it
    return ["staged", "remounted"] if env.SLOW > 1 else ["staged", "destaged", "remounted"]


@pytest.fixture(params=state_params())
def settle(request, shared_mount):
    """Function that brings everything closed so far into the state the parameter names."""
    def bring():
        if request.param != "staged":
            shared_mount.destage()
        if request.param == "remounted":
            shared_mount.remount()

    bring.state = request.param
    return bring
