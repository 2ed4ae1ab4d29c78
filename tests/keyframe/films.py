# SPDX-License-Identifier: MIT
"""films: films made by ffmpeg, what ffprobe says of them, and what our parsers say.

Films are made once per directory (FOLDFS_FILMS, else one in the temporary directory) and kept by the
name of what makes them, so that tests of one run share them.
"""

import hashlib
import os
import subprocess
import tempfile
from collections import namedtuple
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("FOLDFS_BUILD", ROOT / "build"))
DUMP = BUILD / "tests/keyframe/film_dump"

Track = namedtuple("Track", "number kind codec whole runs")
Sample = namedtuple("Sample", "track at len key")
Film = namedtuple("Film", "container tracks samples")

VIDEO = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=8"]
AUDIO = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=8"]


def directory():
    path = Path(os.environ.get("FOLDFS_FILMS", Path(tempfile.gettempdir()) / "foldfs-films"))
    path.mkdir(parents=True, exist_ok=True)
    return path


def ffmpeg(path, *arguments):
    """Makes a film at this path."""
    command = ["ffmpeg", "-v", "error", "-y", "-nostdin", *(str(a) for a in arguments)]
    command += ["-threads", "1", "-fflags", "+bitexact", "-flags", "+bitexact", str(path)]
    subprocess.run(command, check=True)


def make(suffix, *arguments):
    """A film made by `ffmpeg ARGUMENTS FILE.suffix`; bit-exact, so that it is the same every time."""
    words = [str(a) for a in arguments]
    key = hashlib.sha256("\0".join([suffix, *words]).encode()).hexdigest()[:16]
    path = directory() / f"{key}.{suffix}"
    if not path.exists():
        fresh = path.with_name(f"{path.stem}.{os.getpid()}.{suffix}")
        ffmpeg(fresh, *words)
        fresh.rename(path)
    return path


def rewrap(film, suffix, *arguments):
    """The same streams in another container."""
    return make(suffix, "-i", film, "-map", "0", "-c", "copy", *arguments)


def key_packets(path, stream="v:0"):
    """Offsets of the key packets of a stream, as ffprobe gives them."""
    command = ["ffprobe", "-v", "error", "-select_streams", stream]
    command += ["-show_entries", "packet=flags,pos", "-of", "csv=p=0", str(path)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = []
    for line in text.splitlines():
        fields = line.strip().rstrip(",").split(",")
        position = next((f for f in fields if f.isdigit()), None)
        if position is not None and any("K" in f for f in fields):
            found.append(int(position))
    return found


def packets(path, stream, *options):
    """(offset, size, key) of each packet of a stream in the order of the file's packets."""
    command = ["ffprobe", "-v", "error", *options, "-select_streams", stream]
    command += ["-show_entries", "packet=pos,size,flags", "-of", "default=nw=1", str(path)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found, one = [], {}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        one[name] = value
        if len(one) == 3:
            at = int(one["pos"]) if one["pos"].isdigit() else None
            found.append((at, int(one["size"]), "K" in one["flags"]))
            one = {}
    return found


def dump(path):
    """What our parsers find."""
    done = subprocess.run([str(DUMP), str(path)], check=True, capture_output=True, text=True)
    container, tracks, samples = None, [], []
    for line in done.stdout.splitlines():
        word, rest = line.split(" ", 1)
        if word == "container":
            container = rest
        elif word == "track":
            number, kind, codec, whole, runs = rest.split(" ")
            tracks.append(Track(int(number), kind, codec, whole == "whole", runs == "run"))
        else:
            track, at, length, key = rest.split(" ")
            samples.append(Sample(int(track), int(at), int(length), key == "K"))
    return Film(container, tracks, samples)


def keys(film, kind="video"):
    """Offsets of the key samples of the first track of a kind."""
    first = next(t.number for t in film.tracks if t.kind == kind)
    return [s.at for s in film.samples if s.track == first and s.key]


def check_runs(film):
    """Runs of pictures, one after the other from the first key picture on. Returns where the last one ends."""
    assert film.tracks and all(track.runs and not track.whole for track in film.tracks)
    for one, following in zip(film.samples, film.samples[1:]):
        assert one.at + one.len == following.at
    return film.samples[-1].at + film.samples[-1].len


def agreed(path):
    """What our parser finds of one stream of pictures, whose keys are those of ffprobe."""
    film, expected = dump(path), key_packets(path)
    assert len(expected) > 1 and len(film.tracks) == 1
    assert keys(film) == expected
    return film
