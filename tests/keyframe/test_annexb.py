# SPDX-License-Identifier: MIT
"""The parser of elementary streams against ffprobe: key packets, byte for byte, and what is not taken
for a stream.

ffprobe counts the zero byte before a start code to the picture that follows in H.264, to the one that
precedes in HEVC. We follow it in both.
"""

import random

import films
import pytest

H264 = [*films.VIDEO, "-c:v", "libx264", "-preset", "veryfast"]
HEVC = [*films.VIDEO, "-c:v", "libx265", "-preset", "veryfast", "-x265-params"]
QUIET = "log-level=error:keyint=25"

FILMS = {
    "h264-closed": ["h264", *H264, "-g", 25],
    "h264-no-b-frames": ["h264", *H264, "-bf", 0, "-g", 12],
    "h264-baseline": ["h264", *H264, "-profile:v", "baseline", "-g", 30],
    "h264-open": ["h264", *H264, "-x264-params", "open-gop=1:keyint=30:bframes=3:scenecut=0"],
    "h264-intra-refresh": ["h264", *H264, "-x264-params", "intra-refresh=1:keyint=30"],
    "h264-delimiters": ["h264", *H264, "-g", 25, "-x264-params", "aud=1"],
    "h264-many-slices": ["h264", *H264, "-x264-params", "slices=4:keyint=20"],
    "h264-all-intra": ["h264", *H264, "-g", 1],
    "h264-interlaced": ["h264", *H264, "-flags", "+ilme+ildct", "-g", 20],
    "h264-hrd": ["h264", *H264, "-g", 25, "-b:v", "4M", "-minrate", "4M", "-maxrate", "4M", "-bufsize", "1M", "-x264-params", "nal-hrd=cbr:filler=1"],
    "h264-10-bit-444": ["h264", *H264, "-pix_fmt", "yuv444p10le", "-g", 25],
    "hevc-closed": ["hevc", *HEVC, f"{QUIET}:open-gop=0"],
    "hevc-open": ["hevc", *HEVC, f"{QUIET}:open-gop=1"],
    "hevc-no-b-frames": ["hevc", *HEVC, f"{QUIET}:bframes=0"],
    "hevc-delimiters": ["hevc", *HEVC, f"{QUIET}:aud=1:repeat-headers=1"],
    "hevc-many-slices": ["hevc", *HEVC, f"{QUIET}:slices=4"],
    "hevc-10-bit-422": ["hevc", *HEVC, QUIET, "-pix_fmt", "yuv422p10le"],
    "hevc-hdr": ["hevc", *HEVC, f"{QUIET}:hrd=1:vbv-maxrate=2000:vbv-bufsize=2000:max-cll=1000,400:repeat-headers=1"],
}  # fmt: skip


def agrees(path):
    film = films.agreed(path)
    assert films.check_runs(film) == path.stat().st_size
    return film


@pytest.mark.parametrize("name", FILMS)
def test_key_packets_are_those_of_ffprobe(name):
    film = agrees(films.make(*FILMS[name]))
    codec = name.split("-")[0]
    assert film.tracks[0].codec == codec
    assert film.container == {"h264": "H.264 stream", "hevc": "HEVC stream"}[codec]


@pytest.mark.parametrize("name", ["h264-closed", "h264-open", "hevc-open"])
def test_what_was_in_a_container_before(name):
    """ffmpeg puts delimiters and parameter sets in."""
    suffix, *how = FILMS[name]
    for container in ("ts", "mp4"):
        agrees(films.rewrap(films.make(container, *how), suffix))


@pytest.mark.parametrize("name", ["h264-delimiters", "hevc-delimiters"])
def test_start_codes_of_three_bytes(tmp_path, name):
    """The zero byte before a start code is not everywhere."""
    film = films.make(*FILMS[name])
    path = tmp_path / film.name
    path.write_bytes(film.read_bytes().replace(b"\0\0\0\1", b"\0\0\1"))
    agrees(path)


def test_a_stream_that_ends_early(tmp_path):
    film = films.make(*FILMS["h264-closed"])
    data = film.read_bytes()
    expected = films.key_packets(film)
    path = tmp_path / "short.h264"
    for end in range(2000, len(data), 13_337):
        path.write_bytes(data[:end])
        found = films.dump(path)
        sure = [k for k in expected if k + 1500 < end]
        assert films.keys(found) in (sure, expected[: len(sure) + 1])
        assert films.check_runs(found) == end and len(found.tracks) == 1


def test_damage_moves_no_other_key(tmp_path):
    """A picture whose bytes are lost takes nothing with it."""
    film = films.make(*FILMS["hevc-open"])
    data = bytearray(film.read_bytes())
    expected = films.key_packets(film)
    at = expected[2] + 100
    data[at : at + 500] = b"\xff" * 500
    path = tmp_path / "damaged.hevc"
    path.write_bytes(data)
    found = films.keys(films.dump(path))
    assert [k for k in found if k != expected[2]] == [k for k in expected if k != expected[2]]


OTHERS = {
    "mpeg-2 stream": ["m2v", *films.VIDEO, "-c:v", "mpeg2video"],
    "mpeg-4 stream": ["m4v", *films.VIDEO, "-c:v", "mpeg4", "-f", "m4v"],
    "program stream": ["mpg", *films.VIDEO, *films.AUDIO, "-c:v", "mpeg2video", "-c:a", "mp2"],
    "flv": ["flv", *films.VIDEO, "-c:v", "flv1"],
    "wav": ["wav", *films.AUDIO],
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_films_are_no_streams(name):
    assert films.dump(films.make(*OTHERS[name])).container == "none"


def test_ordinary_files_are_no_streams(tmp_path):
    """Not even those that begin with a start code and a likely byte."""
    chance = random.Random(5)
    beginnings = [b"\0\0\1", b"\0\0\0\1", b"\0\0\1\x67", b"\0\0\0\1\x67\x64\0\x1f", b"\0\0\1\x09\xf0\0\0\1\x67"]
    beginnings += [b"\0\0\0\1\x40\1", b"\0\0\1\x40\1\x0c\1\xff\xff\0\0\1\x42\1", b"\0\0\1\x09\xf0" * 30, b""]
    path = tmp_path / "file"
    for beginning in beginnings:
        for _ in range(20):
            path.write_bytes(beginning + chance.randbytes(70_000))
            assert films.dump(path).container == "none"
        path.write_bytes(beginning)
        assert films.dump(path).container == "none"
        path.write_bytes(beginning + bytes(70_000))
        assert films.dump(path).container == "none"


def test_a_stream_needs_its_parameter_sets(tmp_path):
    """What begins amid a film is left alone: too much else looks like that."""
    film = films.make(*FILMS["h264-closed"])
    data = film.read_bytes()
    path = tmp_path / "piece.h264"
    path.write_bytes(data[1000:])
    assert films.dump(path).container == "none"
    path.write_bytes(b"\0" + data)
    assert films.dump(path).container == "none"
