# SPDX-License-Identifier: MIT
"""A film is stored once, however often it is wrapped again; and whatever it claims, it reads back."""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import env

sys.path.insert(0, str(env.SOURCE / "tests/keyframe"))
import films  # noqa: E402

pytestmark = pytest.mark.foldfs

MIB = 1 << 20
PICTURES = ["-f", "lavfi", "-i", "mandelbrot=size=640x360:rate=25,noise=alls=24:allf=t"]
SOUND = ["-f", "lavfi", "-i", "anoisesrc=amplitude=0.2:sample_rate=48000"]
CODECS = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "26", "-g", "25", "-c:a", "aac", "-b:a", "128k"]


def film(suffix="mp4", *arguments):
    """20 seconds, about 20 MiB."""
    env.need_tool("ffmpeg", "ffprobe")
    return films.make(suffix, *PICTURES, *SOUND, "-t", "20", *CODECS, *arguments)


def wrappings():
    one = film()
    return {
        "faststart": films.rewrap(one, "mp4", "-movflags", "+faststart"),
        "mov": films.rewrap(one, "mov"),
        "retag": films.rewrap(one, "mp4", "-metadata", "title=another"),
        "mkv": films.rewrap(one, "mkv"),
        "fragmented": films.rewrap(one, "mp4", "-movflags", "frag_keyframe+empty_moov"),
        "back": films.rewrap(films.rewrap(one, "mkv"), "mp4"),
    }


def new_bytes(mount):
    """Bytes of chunks that were not known."""
    mount.destage()
    return mount.stats()["packer"]["bytes_new"]


def put(mount, path, name=None):
    """Copies a film into the mount; returns what was new of it, as a share."""
    before = new_bytes(mount)
    target = mount.dir / (name or path.name)
    shutil.copyfile(path, target)
    return (new_bytes(mount) - before) / path.stat().st_size


def same(mount, path, name=None):
    return (mount.dir / (name or path.name)).read_bytes() == path.read_bytes()


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3")


@pytest.mark.parametrize("mode", env.MODES)
def test_a_film_is_stored_once_whatever_wraps_it(new_mount, mode):
    mount = new_mount(mode=mode)
    one, others = film(), wrappings()
    assert 8 * MIB < one.stat().st_size < 80 * MIB
    assert put(mount, one) > 0.99
    costs = {name: put(mount, path, name) for name, path in others.items()}
    assert max(costs.values()) < 0.02, costs
    mount.remount()
    drop_caches()
    assert same(mount, one)
    for name, path in others.items():
        assert same(mount, path, name), name


def trimmed(*where):
    return films.make("mp4", *where, "-i", film(), "-map", "0", "-c", "copy")


def test_a_trimmed_film_shares_all_but_its_edges(new_mount):
    """Of pictures a chunk of about half a MiB is new at each edge, and of sound one of 64 KiB."""
    mount = new_mount()
    one = film()
    put(mount, one)
    parts = [trimmed("-ss", "3"), trimmed("-ss", "7.7"), trimmed("-t", "13"), trimmed("-ss", "5", "-t", "9.5"),
             films.rewrap(trimmed("-ss", "9"), "mkv")]
    new = [put(mount, path) * path.stat().st_size for path in parts]
    assert max(new) < 3 * MIB // 2 and sum(new) < 5 * MIB, new
    mount.remount()
    assert same(mount, one)
    for path in parts:
        assert same(mount, path)


def test_films_one_after_another_share_all_of_both(new_mount, home):
    """Although ffmpeg puts parameter sets before each key picture then."""
    mount = new_mount()
    one, other = film(), film("mp4", "-bf", "2")
    listed = home / "list"
    listed.write_text(f"file {one}\nfile {other}\n", encoding="ascii")
    both = [home / "both.mkv", home / "both.mp4"]
    put(mount, one)
    put(mount, other)
    for path in both:
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-f", "concat", "-safe", "0", "-i", listed, "-c", "copy",
                        path], check=True)
    assert both[1].read_bytes().count(b"\x67") > 30
    assert put(mount, both[0]) < 0.04
    assert put(mount, both[1]) < 0.01
    mount.remount()
    assert same(mount, both[0]) and same(mount, both[1])


def features(mount):
    """Incompatible ones, of the superblock."""
    return struct.unpack_from("<Q", (mount.pool.path / "super").read_bytes(), 48)[0]




def index_bytes(mount):
    return json.loads(mount.pool.run("foldfs", "stats", "--json", mount.pool.path).stdout)["kv"]["base_bytes_used"]


def test_slices_cost_little_of_the_index(new_mount):
    """Less than 8 bytes for each picture and packet of sound, pages that are not full included. Programs that
    don't know how they are written down are told so by the superblock, once there is a film."""
    mount = new_mount()
    (mount.dir / "no film").write_bytes(os.urandom(2 * MIB))
    mount.destage()
    assert features(mount) == 0
    one = films.make("mp4", "-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25,noise=alls=24:allf=t", *SOUND, "-t", "100",
                     *CODECS)
    put(mount, one)
    assert features(mount) == 1
    mount.stop()
    before = index_bytes(mount)
    mount.start()
    other = films.rewrap(one, "mkv")
    put(mount, other)
    mount.stop()
    samples = len(films.packets(other, "v:0")) + len(films.packets(other, "a:0"))
    assert samples > 5000 and 4096 < index_bytes(mount) - before < 8 * samples, index_bytes(mount) - before
    mount.start()
    assert same(mount, one) and same(mount, other)


@pytest.mark.asan
def test_a_bare_stream_is_the_pictures_of_a_film(new_mount):
    """Start codes are its own, and parameter sets."""
    mount = new_mount()
    env.need_tool("ffmpeg", "ffprobe")
    one = films.make("mp4", *PICTURES, "-t", "10", *CODECS[:4], "-crf", "20", "-g", "25", "-slices", "3")
    bare = films.rewrap(one, "h264")
    back = films.rewrap(bare, "mp4")
    put(mount, one)
    assert put(mount, bare) < 0.02 and put(mount, back, "back") < 0.02
    data = bare.read_bytes()
    data = data[data.index(bytes([0, 0, 0, 1, 0x67]), len(data) // 3):]     # from a sequence parameter set on
    before = new_bytes(mount)
    (mount.dir / "cut").write_bytes(data)
    assert new_bytes(mount) - before < 3 * MIB / 2, "a chunk at its beginning"
    mount.remount()
    drop_caches()
    assert same(mount, one) and same(mount, bare) and same(mount, back, "back")
    assert (mount.dir / "cut").read_bytes() == data


@pytest.mark.parametrize("suffix", ["ts", "m2ts"])
def test_streams_are_cut_at_key_pictures(new_mount, suffix):
    mount = new_mount(media_min="256K", media_target="1M", media_max="2M")
    one = films.rewrap(film(), suffix)
    put(mount, one)
    stats = mount.stats()["packer"]
    assert stats["chunks"] < one.stat().st_size / (400 << 10)
    assert same(mount, one)


def test_media_off_and_keyframes_do_as_they_say(new_mount):
    for choice, least, most in (("off", 0.5, 1.0), ("keyframes", 0.9, 1.0), ("on", 0, 0.02)):
        mount = new_mount(name=choice, media=choice)
        put(mount, film())
        assert least <= put(mount, wrappings()["mkv"]) <= most, choice
        assert same(mount, film()) and same(mount, wrappings()["mkv"])


def read_of_packs(mount):
    """Bytes that the daemon has read, from packs above all, and how many requests to read it had."""
    with open(f"/proc/{mount.pid}/io", encoding="ascii") as file:
        fields = dict(line.split(": ") for line in file.read().splitlines())
    return int(fields["rchar"]), mount.stats()["requests"]["read"]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_player_that_seeks_reads_what_is_around(new_mount, suffix):
    """Of a cold film, one picture in its middle: the container's tables and a group or two of pictures. What is
    read on from there comes in few large requests, and once."""
    mount = new_mount()
    path = film() if suffix == "mp4" else wrappings()["mkv"]
    size = path.stat().st_size
    put(mount, path, "f")
    mount.remount()
    drop_caches()
    bytes_before, reads_before = read_of_packs(mount)
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-ss", "10", "-i", mount.dir / "f", "-frames:v", "1",
                    "-f", "null", "-"], check=True)
    bytes_then, reads_then = read_of_packs(mount)
    assert 10000 < bytes_then - bytes_before < size / 6
    assert reads_then - reads_before < 40
    with open(mount.dir / "f", "rb", buffering=0) as file:
        file.seek(size // 2)
        while file.read(16384):
            pass
    bytes_last, reads_last = read_of_packs(mount)
    assert bytes_last - bytes_then < 0.7 * size
    assert reads_last - reads_then < size / 2 / (64 << 10)


def damaged_films():
    """Truncated, with tables overwritten, with two films in one, and with a head on noise."""
    for path in (film(), wrappings()["faststart"], wrappings()["mkv"], wrappings()["fragmented"],
                 films.rewrap(film(), "ts"), films.make("h264", "-i", film(), "-map", "0:v", "-c", "copy")):
        data = path.read_bytes()
        yield data[:len(data) * 2 // 3]
        yield data[:len(data) - 5000]
        yield data[:5 * MIB] + data
        noisy = bytearray(data)
        for at in range(1000, len(data), 7001):
            noisy[at] ^= 0x5a
        yield bytes(noisy)
        tables = bytearray(data)
        for mark in (b"stco", b"stsz", b"stsc", b"trun", b"\x1f\x43\xb6\x75"):
            at = data.find(mark)
            while at >= 0:
                for k in range(20, min(4000, len(data) - at), 13):
                    tables[at + k] ^= 0xff
                at = data.find(mark, at + 4000)
        yield bytes(tables)
        yield data[:3000] + os.urandom(3 * MIB)


def test_films_that_lie_read_back(new_mount):
    mount = new_mount(media_min="256K", media_target="1M", media_max="2M")
    hostile = list(damaged_films())
    for number, data in enumerate(hostile):
        (mount.dir / str(number)).write_bytes(data)
    mount.destage()
    mount.remount()
    for number, data in enumerate(hostile):
        assert (mount.dir / str(number)).read_bytes() == data, number


@pytest.mark.parametrize("fault", ["film_read:3=crash", "film_read:1+=EIO", "film_read:2=EIO"])
def test_a_reader_that_dies_costs_the_advice_only(new_mount, fault, monkeypatch):
    monkeypatch.setenv("FOLDFS_FAULT", fault)
    mount = new_mount(log_level="debug")
    one, other = film(), wrappings()["mkv"]
    put(mount, one)
    put(mount, other)
    assert "without regard to what film it may be" in mount.log.read_text(encoding="utf-8")
    assert same(mount, one) and same(mount, other)


def state(pid):
    """One letter, as ps has it."""
    return open(f"/proc/{pid}/stat", encoding="utf-8").read().rsplit(")", 1)[1].split()[0]


def kill_forker(keeper):
    """The keeper's only child, once it is there; and waits until it has gone."""
    children = []
    env.until(lambda: children.extend(env.run("pgrep", "-P", str(keeper), code=None).stdout.split()) or children,
              "there is a process that makes readers")
    os.kill(int(children[0]), 9)
    env.until(lambda: not os.path.exists(f"/proc/{children[0]}"), "it has gone")


def forker(mount):
    """The keeper of the process that makes readers: the daemon's only child, but for its guardian."""
    children = [pid for pid in env.run("pgrep", "-P", str(mount.pid)).stdout.split()
                if Path(f"/proc/{pid}/comm").read_text() != "foldfs-guardian\n"]
    assert len(children) == 1
    return int(children[0])


def test_the_process_that_makes_readers_is_made_again(new_mount):
    """Eight times; then films are stored as other files are, and the log says so."""
    mount = new_mount(log_level="info")
    keeper = forker(mount)
    again, gone = "has been started again", "(foldfs-films) is gone"
    for _ in range(3):
        kill_forker(keeper)
    put(mount, film())
    assert put(mount, wrappings()["mkv"]) < 0.02
    assert mount.log.read_text(encoding="utf-8").count(again) == 3
    for _ in range(6):
        kill_forker(keeper)
    env.until(lambda: not os.path.exists(f"/proc/{keeper}") or state(keeper) == "Z", "the keeper has given up")
    put(mount, wrappings()["mov"])
    assert gone in mount.log.read_text(encoding="utf-8")
    assert same(mount, film()) and same(mount, wrappings()["mkv"]) and same(mount, wrappings()["mov"])
    assert not mount.stats()["failed"]


def test_the_process_that_makes_readers_has_no_rights_and_may_die(new_mount):
    mount = new_mount()
    pid = forker(mount)
    status = dict(line.split(":\t", 1) for line in
                  open(f"/proc/{pid}/status", encoding="utf-8").read().splitlines() if ":\t" in line)
    assert status["Uid"].split() == ["65534"] * 4
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    opened = {os.readlink(f"/proc/{pid}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{pid}/fd")}
    assert opened == {"socket", "/dev/null"}
    os.kill(pid, 9)
    put(mount, film())
    assert same(mount, film())
    assert not mount.stats()["failed"]


def test_an_unmount_does_not_wait_for_a_process_that_is_stopped(new_mount):
    mount = new_mount()
    keeper = forker(mount)
    children = []
    env.until(lambda: children.extend(env.run("pgrep", "-P", str(keeper), code=None).stdout.split()) or children,
              "there is a process that makes readers")
    makers = [int(children[0]), keeper]
    for pid in makers:
        os.kill(pid, signal.SIGSTOP)
    mount.stop()
    env.until(lambda: not any(os.path.exists(f"/proc/{pid}") and state(pid) != "Z" for pid in makers), "both have gone")


def test_a_film_changed_and_changed_again(new_mount):
    """Slices are cut, overwritten, cloned and truncated as all extents are."""
    mount = new_mount(media_min="256K", media_target="1M", media_max="2M")
    path = wrappings()["mkv"]
    data = bytearray(path.read_bytes())
    put(mount, path, "f")
    with open(mount.dir / "f", "r+b", buffering=0) as file:
        for at in range(12345, len(data) - 9000, len(data) // 20):
            os.pwrite(file.fileno(), b"changed" * 100, at)
            data[at:at + 700] = b"changed" * 100
    mount.destage()
    assert (mount.dir / "f").read_bytes() == data
    env.run("cp", mount.dir / "f", mount.dir / "g")
    os.truncate(mount.dir / "f", len(data) // 2 + 77)
    mount.destage()
    mount.remount()
    assert (mount.dir / "f").read_bytes() == data[:len(data) // 2 + 77]
    assert (mount.dir / "g").read_bytes() == data
    os.unlink(mount.dir / "f")
    mount.gc()
    drop_caches()
    assert (mount.dir / "g").read_bytes() == data


@pytest.mark.asan
def test_a_film_under_sanitizers(new_mount):
    mount = new_mount()
    for path in (film(), wrappings()["mkv"], wrappings()["fragmented"]):
        put(mount, path)
    mount.remount()
    for path in (film(), wrappings()["mkv"], wrappings()["fragmented"]):
        assert same(mount, path)


def test_du_tells_what_is_in_a_film(new_mount):
    mount = new_mount()
    one, other = film(), wrappings()["mkv"]
    put(mount, one, "a")
    alone = mount.json("du", "--media", mount.dir / "a")[0]
    assert alone["media"]["container"] == "MP4"
    video, audio = alone["media"]["tracks"]
    assert (video["kind"], video["codec"], video["samples"], video["groups"]) == ("video", "h264", 500, 20)
    assert (audio["kind"], audio["codec"], audio["whole"]) == ("audio", "aac", True)
    assert alone["shared"] == 0 and alone["chunks"] > 2
    put(mount, other, "b")
    both = mount.json("du", "--media", mount.dir / "a", mount.dir / "b")
    assert both[1]["media"]["container"] == "Matroska"
    for entry in both:
        assert entry["shared"] > 0.98 * entry["stored"]
    said = mount.foldfs("du", "--media", mount.dir / "b").stdout
    assert "Matroska" in said and "500 pictures, 20 groups" in said
    (mount.dir / "c").write_bytes(b"no film")
    assert mount.json("du", "--media", mount.dir / "c")[0]["media"] == {"container": "none", "tracks": []}
    assert "wants files" in mount.foldfs("du", "--media", mount.dir, code=1).stderr
