import errno, mmap, os, time, stat
import pytest
import env, people
from mapping import mapped, Mapping
from pattern import noise
from syscalls import *
TIB = 1 << 40
MIB = 1 << 20

def crash(mount, *fds):
    mount.kill()
    for fd in fds:
        try: os.close(fd)
        except OSError: pass
    mount.start()

def test_p1_far_over_native(new_mount):
    mount = new_mount(mode="auto", destage_delay=600)
    p = mount.dir / "f"
    fd = os.open(p, os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, b"A" * 8192, 9 * TIB)
    os.close(fd)
    fd = os.open(p, os.O_WRONLY)
    os.pwrite(fd, b"B" * 4096, 9 * TIB)
    os.close(fd)
    fd = os.open(p, os.O_RDONLY)
    got = os.pread(fd, 8192, 9 * TIB)
    os.close(fd)
    mount.destage()
    fd = os.open(p, os.O_RDONLY)
    got2 = os.pread(fd, 8192, 9 * TIB)
    os.close(fd)
    print(got[:4], got2[:4])
    assert got == got2 == b"B" * 4096 + b"A" * 4096

def test_p1b_straddle(new_mount):
    mount = new_mount(mode="auto", destage_delay=600)
    p = mount.dir / "f"
    fd = os.open(p, os.O_CREAT | os.O_WRONLY)
    os.pwrite(fd, b"A" * 8192, 8 * TIB - 8192)
    os.pwrite(fd, b"B" * 8192, 8 * TIB - 4096)
    os.close(fd)
    fd = os.open(p, os.O_RDONLY)
    got = os.pread(fd, 12288, 8 * TIB - 8192)
    assert got == b"A" * 4096 + b"B" * 8192

def test_p2_far_beside_native(new_mount):
    mount = new_mount(mode="auto", destage_delay=600)
    p = mount.dir / "f"
    fd = os.open(p, os.O_CREAT | os.O_WRONLY)
    os.pwrite(fd, b"A" * MIB, 0)
    fd2 = os.open(p, os.O_RDWR)
    os.pwrite(fd2, b"C", 5)
    try:
        r = os.pwrite(fd, b"B" * 4096, 9 * TIB)
    except OSError as e:
        print("err", e); r = None
    os.close(fd2)
    os.close(fd)
    print(r, os.stat(p).st_size)
    if r:
        assert os.stat(p).st_size == 9 * TIB + 4096
        fd = os.open(p, os.O_RDONLY)
        assert os.pread(fd, 4096, 9 * TIB) == b"B" * 4096

def staged(mount):
    return mount.stats()["staging_bytes"]
def _x(mount):
    return mount.stats()["staging_bytes"] if "staging_bytes" in mount.stats() else [ (k, v) for k, v in mount.stats().items()]

def test_p3_rewrites(new_mount):
    mount = new_mount(mode="auto", destage_delay=600)
    p = mount.dir / "f"
    for i in range(6):
        fd = os.open(p, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.write(fd, noise(4 * MIB, i))
        os.close(fd)
    mount.sync()
    time.sleep(1.5)
    print(str(mount.stats())[:3000])
    print([f.stat().st_blocks * 512 for f in (mount.pool.path / "staging").iterdir()])
    assert 0

def test_p4_unlinked(new_mount):
    mount = new_mount(mode="auto", destage_delay=600)
    p = mount.dir / "f"
    for flags in (os.O_WRONLY, os.O_RDWR):
        fd = os.open(p, os.O_CREAT | flags)
        os.write(fd, noise(4 * MIB, 1))
        os.unlink(p)
        time.sleep(1.5)
        print("open", staged(mount))
        os.close(fd)
        time.sleep(1.5)
        print("closed", staged(mount), [f.stat().st_blocks * 512 for f in (mount.pool.path / "staging").iterdir()])
    assert 0

def test_p5_remount(new_mount):
    mount = new_mount(mode="auto", destage_delay=600)
    p = mount.dir / "f"
    fd = os.open(p, os.O_CREAT | os.O_WRONLY)
    os.write(fd, noise(4 * MIB, 1))
    os.close(fd)
    print(staged(mount))
    mount.remount()
    print(staged(mount))
    mount.destage()
    print(staged(mount))
    assert 0

def test_p6_evicted(new_mount):
    mount = new_mount(mode="auto", destage_delay=600, wal_sync_interval=600)
    d = mount.dir / "d"
    d.mkdir()
    for i in range(13000):
        os.mkdir(d / str(i))
    (mount.dir / "old").write_bytes(b"x" * 100)
    mount.destage()
    mount.sync()
    os.rename(mount.dir / "old", mount.dir / "new")
    os.chmod(mount.dir / "new", 0o751)
    for i in range(13000):
        os.chmod(d / str(i), 0o700)
    fd = os.open(mount.dir / "new", os.O_RDONLY)
    os.fsync(fd)
    crash(mount, fd)
    assert (mount.dir / "new").exists()
    assert stat.S_IMODE(os.stat(mount.dir / "new").st_mode) == 0o751

def test_p7_ro_mapping(new_mount):
    mount = new_mount(mode="auto", destage_delay=600)
    p = mount.dir / "f"
    p.write_bytes(noise(MIB))
    view = mapped(p, os.O_RDONLY, writable=False)
    assert view.read(0, 4) == noise(MIB)[:4]
    mount.destage()
    print(os.listdir(mount.pool.path / "staging"))
    with open(p, "r+b", buffering=0) as f:
        f.write(b"abcd")
    assert view.read(0, 4) == b"abcd"

def test_p7b_ro_mapping_trunc(new_mount):
    mount = new_mount(mode="auto", destage_delay=600)
    p = mount.dir / "f"
    p.write_bytes(noise(MIB))
    view = mapped(p, os.O_RDONLY, writable=False)
    assert view.read(0, 4) == noise(MIB)[:4]
    with open(p, "wb", buffering=0) as f:
        f.write(b"abcd" * 4096)
    assert view.read(0, 4) == b"abcd"

def test_p8_behind_mapping(new_mount):
    mount = new_mount(mode="auto", destage_delay=600, staging_limit=192*MIB)
    p = mount.dir / "f"
    fd = os.open(p, os.O_CREAT | os.O_WRONLY)
    for i in range(60):
        os.pwrite(fd, noise(MIB, i), i * MIB)
    view = mapped(p, os.O_RDONLY, writable=False)
    assert view.read(0, 4) == noise(MIB, 0)[:4]
    other = os.open(mount.dir / "g", os.O_CREAT | os.O_RDWR)
    for i in range(160):
        os.pwrite(other, noise(MIB, 1000 + i), i * MIB)
    os.fsync(other)
    for i in range(60, 100):
        os.pwrite(fd, noise(MIB, i), i * MIB)
        time.sleep(0.05)
    time.sleep(2)
    print(mount.stats())
    assert view.read(4 * MIB, 4) == noise(MIB, 4)[:4]

def test_p8b_behind_native_mapping(new_mount):
    mount = new_mount(mode="auto", destage_delay=600, staging_limit=192*MIB)
    p = mount.dir / "f"
    fd = os.open(p, os.O_CREAT | os.O_WRONLY)
    for i in range(60):
        os.pwrite(fd, noise(MIB, i), i * MIB)
    view = mapped(p)
    assert view.read(0, 4) == noise(MIB, 0)[:4]
    other = os.open(mount.dir / "g", os.O_CREAT | os.O_WRONLY)
    for i in range(220):
        os.pwrite(other, noise(MIB, 1000 + i), i * MIB)
    for i in range(60, 100):
        os.pwrite(fd, noise(MIB, i), i * MIB)
        time.sleep(0.05)
    time.sleep(2)
    with open(p, "rb", buffering=0) as f:
        for i in range(100):
            assert f.read(MIB) == noise(MIB, i), i
    assert view.read(4 * MIB, 4) == noise(MIB, 4)[:4]
