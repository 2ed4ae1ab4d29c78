# SPDX-License-Identifier: MIT
"""What people do all day: copy trees, build, keep databases and repositories, edit.

Each ends with the same question: unmounted and mounted again, is every byte and attribute there?
"""

import os
import random
import shutil
import socket
import sqlite3
import stat
import subprocess
from pathlib import Path

import pytest

import aptsource
import env
import people
from pattern import noise, text
from trees import assert_same, snapshot


@pytest.fixture(scope="session")
def lmdb_source():
    return aptsource.fetch("lmdb")


@pytest.fixture(scope="session")
def headers(tmp_path_factory):
    """Some two thousand real files: as much of /usr/include, however much is installed there."""
    chosen, room = [], 2000
    for path in sorted(Path("/usr/include").glob("*")):
        count = sum(len(files) for _, _, files in os.walk(path)) if path.is_dir() else 1
        if count <= room:
            chosen.append(path)
            room -= count
    if room > 1500:
        env.lacking("/usr/include is not there to be copied")
    copy = tmp_path_factory.mktemp("headers")
    env.run("cp", "-a", *chosen, copy)
    return copy


@pytest.fixture
def menagerie(home):
    """A tree with one of everything that an archiver has to bring over."""
    root = home / "menagerie"
    root.mkdir()
    (root / "plain").write_bytes(text(100_000))
    (root / "empty").touch()
    (root / "noise").write_bytes(noise(3_000_000))
    os.link(root / "plain", root / "hardlink")
    os.symlink("plain", root / "symlink")
    os.symlink("no/where", root / "dangling")
    os.mkfifo(root / "fifo", 0o640)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "disk", stat.S_IFBLK | 0o660, os.makedev(240, 77))
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(root, os.O_PATH)
        server.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    with open(root / "sparse", "wb") as file:
        file.truncate(50_000_000)
        os.pwrite(file.fileno(), noise(10_000), 20_000_000)
    for name in ("ünïcode", "with space", "new\nline", "-dash", "x" * 255):
        (root / name).write_text(name)
    open(os.fsencode(root) + b"/\xff\xfe", "wb").close()
    (root / "secret").write_text("s")
    os.chown(root / "secret", *people.ALICE)
    os.chmod(root / "secret", 0o4711)
    os.setxattr(root / "plain", "user.comment", b"an attribute")
    os.setxattr(root / "plain", "trusted.t", bytes(range(100)))
    deep = root / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "deep").write_text("deep")
    os.chmod(root / "a", 0o2775)
    os.chmod(root / "a" / "b", 0o1777)
    if shutil.which("setfacl"):
        env.run("setfacl", "-m", "u:12001:rw,d:g:12002:rx", root / "a")
        env.run("setfacl", "-m", "u:12001:rw", root / "noise")
    for number, path in enumerate([*sorted(root.rglob("*"), reverse=True), root]):
        os.utime(path, ns=(10**18 + number, 1_600_000_000_123_456_789 + number),
                 follow_symlinks=False)
    return root


def twice(mount, check):
    """CHECK now, after everything is destaged, and after a remount."""
    check()
    mount.destage()
    check()
    mount.remount()
    check()


COPIERS = {
    "cp -a": lambda a, b: env.run("cp", "-a", a, b, timeout=300),
    "rsync -aHAX": lambda a, b: env.need_tool("rsync") or env.run(
        "rsync", "-aHAX", "--numeric-ids", "-S", f"{a}/", f"{b}/", timeout=300),
    "tar": lambda a, b: env.run(
        "bash", "-c", f"mkdir {b} && tar -C {a} -S --xattrs --xattrs-include='*' --acls "
        f"--exclude=./socket -cf - . | tar -C {b} --xattrs --xattrs-include='*' --acls -xpf -"),
}


@pytest.mark.parametrize("copier", COPIERS)
@pytest.mark.asan
def test_one_of_everything(mount, menagerie, copier):
    if copier == "tar":
        os.unlink(menagerie / "socket")
        os.utime(menagerie, ns=(1, 1_600_000_000_000_000_001))
    COPIERS[copier](menagerie, mount.dir / "copy")
    original = snapshot(menagerie)
    twice(mount, lambda: assert_same(original, snapshot(mount.dir / "copy")))
    COPIERS[copier](mount.dir / "copy", menagerie.parent / "back")
    assert_same(original, snapshot(menagerie.parent / "back"))


@pytest.mark.parametrize("copier", ["cp -a", "rsync -aHAX"])
def test_a_real_tree(mount, headers, copier):
    COPIERS[copier](headers, mount.dir / "include")
    original = snapshot(headers)
    twice(mount, lambda: assert_same(original, snapshot(mount.dir / "include")))
    if copier.startswith("rsync"):
        env.run("rsync", "-aHAX", "--delete", "--checksum", "--numeric-ids", f"{headers}/",
                f"{mount.dir}/include/", timeout=300)
        out = env.run("rsync", "-aHAXni", "--delete", "--numeric-ids", f"{headers}/",
                      f"{mount.dir}/include/", timeout=300).stdout
        assert out == "", "rsync still sees differences"


def test_build_a_c_project(mount, lmdb_source):
    """configure-free C: make -j2, its own test programs (which map files), and make again."""
    env.need_tool("make", "gcc")
    env.run("cp", "-a", lmdb_source, mount.dir / "lmdb")
    where = next((mount.dir / "lmdb").rglob("mdb.c")).parent
    env.run("make", "-j2", cwd=where, timeout=600)
    env.run("make", "test", cwd=where, timeout=600)
    built = snapshot(mount.dir / "lmdb")
    assert any(name.endswith(b"/mdb_stat") for name in built)
    twice(mount, lambda: assert_same(built, snapshot(mount.dir / "lmdb")))
    again = env.run("make", "-j2", cwd=where, timeout=600).stdout
    assert "gcc" not in again, "times survived, so there is nothing to build again"
    env.run(where / "mdb_stat", "-e", where / "testdb")


def test_build_from_scratch_with_object_files_removed(mount, lmdb_source):
    env.need_tool("make", "gcc")
    env.run("cp", "-a", lmdb_source, mount.dir / "lmdb")
    where = next((mount.dir / "lmdb").rglob("mdb.c")).parent
    env.run("make", "-j2", cwd=where, timeout=600)
    mount.destage()
    env.run("make", "clean", cwd=where)
    env.run("make", "-j2", cwd=where, timeout=600)
    assert env.run(where / "mdb_copy", code=None).returncode == 1
    assert os.path.getsize(where / "liblmdb.so") > 10_000


# ---- databases


@pytest.mark.asan
@pytest.mark.parametrize("journal", ["delete", "wal", "truncate"])
@pytest.mark.parametrize("mode", env.MODES)
def test_sqlite(new_mount, journal, mode):
    mount = new_mount(mode=mode)
    path = mount.dir / "db"
    rng = random.Random(journal)
    rows = {}

    def work(connection, count):
        for _ in range(count):
            with connection:
                for _ in range(20):
                    key = rng.randrange(2000)
                    value = rng.randbytes(rng.randrange(500))
                    connection.execute("insert or replace into t values (?, ?)", (key, value))
                    rows[key] = value
                for key in rng.sample(range(2000), 5):
                    connection.execute("delete from t where k = ?", (key,))
                    rows.pop(key, None)
        try:
            with connection:
                connection.execute("delete from t")
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass

    def check(connection):
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        assert dict(connection.execute("select k, v from t")) == rows

    for turn in range(3):
        connection = sqlite3.connect(path)
        connection.execute(f"pragma journal_mode = {journal}")
        connection.execute("create table if not exists t (k integer primary key, v blob)")
        work(connection, 30)
        check(connection)
        if turn == 1:
            connection.execute("vacuum")
        connection.close()
        mount.destage()
        mount.remount()
    connection = sqlite3.connect(path)
    check(connection)
    connection.close()


@pytest.mark.asan
@pytest.mark.foldfs
def test_sqlite_survives_a_crash_of_the_daemon(mount):
    """Committed transactions are there, half ones are not."""
    path = mount.dir / "db"
    connection = sqlite3.connect(path)
    connection.execute("pragma synchronous = extra")    # full may lose the last commit
    connection.execute("create table t (n integer)")
    for number in range(50):
        with connection:
            connection.execute("insert into t values (?)", (number,))
    connection.execute("insert into t values (-1)")
    mount.kill()
    try:
        connection.close()
    except sqlite3.Error:
        pass
    mount.start()
    connection = sqlite3.connect(path)
    assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    assert [n for n, in connection.execute("select n from t order by n")] == list(range(50))
    connection.close()


def test_sqlite_with_several_processes(mount):
    path = mount.dir / "db"
    connection = sqlite3.connect(path)
    connection.execute("create table t (who integer, n integer)")
    connection.commit()
    connection.close()

    def writer(who):
        mine = sqlite3.connect(path, timeout=60)
        for number in range(40):
            with mine:
                mine.execute("insert into t values (?, ?)", (who, number))
        mine.close()

    pids = []
    for who in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                writer(who)
                os._exit(0)
            finally:
                os._exit(1)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    connection = sqlite3.connect(path)
    assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    assert connection.execute("select count(*), count(distinct who * 1000 + n) from t"
                              ).fetchone() == (160, 160)
    connection.close()


# ---- git


def git(where, *args, code=0):
    environ = {**os.environ, "HOME": str(where), "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        environ |= {f"GIT_{role}_NAME": "A", f"GIT_{role}_EMAIL": "a@example.org"}
    return env.run("git", "-c", "safe.directory=*", *args, cwd=where, env=environ, code=code,
                   timeout=300)


def test_git(mount, lmdb_source):
    """init, commit, gc (which maps packs), clone by hard links, fsck, stash, checkout, worktree."""
    env.need_tool("git")
    repo = mount.dir / "repo"
    shutil.copytree(lmdb_source, repo, symlinks=True)
    git(repo, "init", "-q", "-b", "main")
    git(repo, "add", ".")
    git(repo, "commit", "-qm", "all")
    for number in range(15):
        (repo / f"file{number}").write_bytes(text(20_000, number))
        (repo / "changing").write_bytes(text(30_000, number))
        git(repo, "add", ".")
        git(repo, "commit", "-qm", f"commit {number}")
    git(repo, "gc", "--quiet", "--aggressive")
    git(repo, "checkout", "-q", "HEAD~5")
    assert not (repo / "file14").exists()
    git(repo, "checkout", "-q", "main")
    git(mount.dir, "clone", "-q", "repo", "clone")
    git(mount.dir, "clone", "-q", "--no-hardlinks", "--bare", "repo", "bare.git")
    (repo / "changing").write_text("uncommitted")
    git(repo, "stash")
    git(repo, "stash", "pop")
    assert (repo / "changing").read_text() == "uncommitted"
    git(repo, "checkout", "-q", "changing")

    def check():
        for name in ("repo", "clone", "bare.git"):
            git(mount.dir / name, "fsck", "--full", "--strict", code=None)
            assert git(mount.dir / name, "fsck", "--full").returncode == 0
            assert git(mount.dir / name, "rev-list", "--count", "main").stdout.strip() == "16"
        assert git(repo, "status", "--porcelain").stdout == ""
        for number in range(15):
            assert (mount.dir / "clone" / f"file{number}").read_bytes() == text(20_000, number)
    twice(mount, check)


# ---- editing


def save_as_editors_do(path, data):
    """Temporary file, fsync, attributes, rename over the old one, fsync of the directory."""
    temporary = path.with_name(f".{path.name}.tmp")
    old = os.stat(path)
    with open(temporary, "xb") as file:
        os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    here = os.open(path.parent, os.O_RDONLY)
    os.fsync(here)
    os.close(here)


@pytest.mark.asan
def test_temp_and_rename(mount):
    path = mount.dir / "document"
    path.write_bytes(b"start")
    path.chmod(0o640)
    content = b"start"
    for turn in range(30):
        content = text(5000 + turn * 3000, turn)
        save_as_editors_do(path, content)
        assert path.read_bytes() == content and os.listdir(mount.dir) == ["document"]
        if turn % 10 == 5:
            mount.destage()
    twice(mount, lambda: path.read_bytes() == content or pytest.fail("lost the last version"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.asan
def test_backup_by_link(mount):
    """emacs and others: link or rename the old version to a backup, then write a new file."""
    path, backup = mount.dir / "f", mount.dir / "f~"
    path.write_bytes(b"one")
    for turn, version in enumerate([b"two", b"three" * 1000, b"four"]):
        old = path.read_bytes()
        backup.unlink(missing_ok=True)
        os.rename(path, backup) if turn % 2 else os.link(path, backup)
        if turn % 2 == 0:
            path.unlink()
        path.write_bytes(version)
        twice(mount, lambda: (path.read_bytes(), backup.read_bytes()) == (version, old)
              or pytest.fail("versions are mixed up"))


@pytest.mark.parametrize("options", ["", "set backupcopy=yes backup", "set backupcopy=no backup"])
def test_vim(mount, options):
    editor = shutil.which("vim") or shutil.which("vim.tiny") or env.lacking("there is no vim")
    path = mount.dir / "f.txt"
    path.write_text("first line\n" * 5000)
    for turn in range(4):
        subprocess.run([editor, "-u", "NONE", "-es", "-c", "set nocompatible directory=.",
                        "-c", options or "set nobackup", "-c", f"%s/line\\d*/line{turn}/",
                        "-c", "wq", str(path)], check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, timeout=60 * env.SLOW, cwd=mount.dir)
        assert path.read_text() == f"first line{turn}\n" * 5000
        mount.destage()
    mount.remount()
    assert path.read_text() == "first line3\n" * 5000
    assert set(os.listdir(mount.dir)) <= {"f.txt", "f.txt~"}


# ---- a bit of everything at once


@pytest.mark.full
def test_many_trees_side_by_side(mount, headers):
    """Two copies, a removal and a build of a tar at the same time, with gc in between."""
    copies = [subprocess.Popen(["cp", "-a", headers, mount.dir / f"copy{n}"]) for n in range(2)]
    while any(copy.poll() is None for copy in copies):
        mount.gc()
    assert [copy.wait() for copy in copies] == [0, 0]
    tar = subprocess.Popen(["tar", "-C", mount.dir, "-cf", mount.dir / "all.tar", "copy0"])
    removal = subprocess.Popen(["rm", "-rf", mount.dir / "copy1"])
    assert (tar.wait(), removal.wait()) == (0, 0)
    env.run("tar", "-C", mount.dir, "-df", mount.dir / "all.tar", timeout=300)
    original = snapshot(headers)
    mount.gc()
    twice(mount, lambda: assert_same(original, snapshot(mount.dir / "copy0")))
    assert sorted(os.listdir(mount.dir)) == ["all.tar", "copy0"]
