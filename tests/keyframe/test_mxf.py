# SPDX-License-Identifier: MIT
"""The MXF parser against ffprobe: key packets, byte for byte. Where an element is a frame ffprobe gives
the place of its key, where it is a clip that of the picture within."""

import films
import pytest

PCM = ["-c:a", "pcm_s16le"]
BOTH = [*films.VIDEO, *films.AUDIO]
HD = ["-f", "lavfi", "-i", "testsrc2=size=1920x1080:rate=25:duration=1"]
PAL = ["-f", "lavfi", "-i", "testsrc2=size=720x576:rate=25:duration=2"]
H264 = ["-c:v", "libx264", "-preset", "veryfast"]
DNXHD = ["-c:v", "dnxhd", "-b:v", "120M", "-pix_fmt", "yuv422p"]
NOISE = "noise=alls=60:allf=t:all_seed=3,pad=720:608:0:32"  # enough for the constant bit rate
IMX = ["-vf", NOISE, "-c:v", "mpeg2video", "-pix_fmt", "yuv422p", "-g", 1, "-qmin", 1, "-qmax", 12, "-dc", 10]
IMX += ["-intra_vlc", 1, "-non_linear_quant", 1, "-flags", "+ildct+low_delay", "-ps", 1]
IMX += ["-b:v", "30M", "-minrate", "30M", "-maxrate", "30M", "-bufsize", 1200000, "-rc_init_occupancy", 1200000]

FILMS = {
    "mpeg2-long": ["mxf", *BOTH, "-c:v", "mpeg2video", "-g", 15, "-bf", 2, "-b:v", "2M", *PCM],
    "mpeg2-long-no-audio": ["mxf", *films.VIDEO, "-c:v", "mpeg2video", "-g", 12, "-bf", 2, "-b:v", "8M"],
    "mpeg2-open": ["mxf", *BOTH, "-c:v", "mpeg2video", "-g", 15, "-bf", 2, "-flags", "-cgop", *PCM],
    "mpeg2-interlaced": ["mxf", *PAL, "-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-g", 12, "-b:v", "5M"],
    "mpeg2-intra": ["mxf", *films.VIDEO, "-c:v", "mpeg2video", "-g", 1, "-b:v", "8M"],
    "mpeg2-d10": ["mxf", *PAL, *IMX, "-f", "mxf_d10"],
    "dnxhd": ["mxf", *HD, *DNXHD],
    "dnxhd-dnxhr": ["mxf", *HD, "-c:v", "dnxhd", "-profile:v", "dnxhr_hq", "-pix_fmt", "yuv422p"],
    "dnxhd-opatom": ["mxf", *HD, *DNXHD, "-f", "mxf_opatom"],
    "dnxhd-opatom-interlaced": ["mxf", *HD, *DNXHD, "-flags", "+ildct", "-f", "mxf_opatom"],
    "dnxhd-opatom-dnxhr": ["mxf", *HD, "-c:v", "dnxhd", "-profile:v", "dnxhr_hq", "-pix_fmt", "yuv422p", "-f", "mxf_opatom"],
    "prores": ["mxf", *BOTH, "-c:v", "prores", *PCM],
    "h264-closed": ["mxf", *BOTH, *H264, "-g", 25, *PCM],
    "h264-open": ["mxf", *films.VIDEO, *H264, "-x264-params", "open-gop=1:keyint=30:bframes=3:scenecut=0"],
    "h264-10-bit-422": ["mxf", *BOTH, *H264, "-profile:v", "high422", "-pix_fmt", "yuv422p10le", "-g", 25, *PCM],
    "h264-intra": ["mxf", *films.VIDEO, *H264, "-g", 1, "-bf", 0],
    "h264-avc-intra": ["mxf", *HD, *H264, "-pix_fmt", "yuv422p10le", "-x264-params", "avcintra-class=100:interlaced=1"],
    "j2k": ["mxf", *films.VIDEO, "-c:v", "jpeg2000"],
    "dv": ["mxf", *PAL, "-c:v", "dvvideo", "-pix_fmt", "yuv420p"],
}  # fmt: skip


def agrees(path):
    film = films.agreed(path)
    assert films.check_runs(film) <= path.stat().st_size
    return film


@pytest.mark.parametrize("name", FILMS)
def test_key_packets_are_those_of_ffprobe(name):
    film = agrees(films.make(*FILMS[name]))
    assert film.container == "MXF"
    assert film.tracks[0].codec == name.split("-")[0]


def klv(key, value, length_bytes=3):
    return bytes.fromhex(key) + bytes([0x80 | length_bytes]) + len(value).to_bytes(length_bytes, "big") + value


HEADER = klv("060e2b34020501010d01020101020400", bytes(88))
FOOTER = klv("060e2b34020501010d01020101040400", bytes(88))
FILL = klv("060e2b34010101020301021001000000", bytes(1000))


@pytest.mark.parametrize(
    "suffix,options",
    [
        ("m2v", ["-c:v", "mpeg2video", "-g", 15, "-bf", 2, "-b:v", "2M"]),
        ("h264", [*H264, "-g", 25]),
        ("hevc", ["-c:v", "libx265", "-x265-params", "log-level=error:keyint=25"]),
    ],
)
def test_a_whole_stream_in_one_element(tmp_path, suffix, options):
    """ffmpeg doesn't write these. The key pictures are those that ffprobe finds in the stream itself."""
    stream = films.make(suffix, *films.VIDEO, *options)
    data = stream.read_bytes()
    begin = HEADER + FILL
    path = tmp_path / "clip.mxf"
    element = klv("060e2b34010201010d01030115010600", data, 8)
    path.write_bytes(begin + element + FILL + FOOTER)
    offset = len(begin) + len(element) - len(data)
    expected = [k + offset for k in films.key_packets(stream)]
    found = films.dump(path)
    assert films.keys(found) == expected
    assert len(expected) > 5
    assert films.check_runs(found) <= offset + len(data) and len(found.tracks) == 1


def test_bytes_may_precede(tmp_path):
    film = films.make(*FILMS["mpeg2-long"])
    path = tmp_path / "run-in.mxf"
    path.write_bytes(b"what some devices put first\r\n" * 20 + film.read_bytes())
    agrees(path)


def test_a_film_that_ends_early(tmp_path):
    """What ffprobe makes of it depends on the index table at its end; we find what is within."""
    for name in ("mpeg2-long", "dnxhd-opatom", "h264-closed"):
        film = films.make(*FILMS[name])
        data = film.read_bytes()
        expected = films.key_packets(film)
        path = tmp_path / "short.mxf"
        for end in range(8000, len(data), len(data) // 17):
            path.write_bytes(data[:end])
            found = films.dump(path)
            assert found.container == "MXF"
            sure = [k for k in expected if k + 2000 < end]
            assert films.keys(found) in (sure, expected[: len(sure) + 1])
            assert films.check_runs(found) <= end and len(found.tracks) == 1


@pytest.mark.parametrize("junk", [1, 20, 5000])
def test_bytes_that_came_in_between(tmp_path, junk):
    film = films.make(*FILMS["mpeg2-long"])
    data = film.read_bytes()
    expected = films.key_packets(film)
    at = expected[3]
    path = tmp_path / "junk.mxf"
    path.write_bytes(data[:at] + b"\x2b" * junk + data[at:])
    assert films.keys(films.dump(path)) == [k if k < at else k + junk for k in expected]


def test_bytes_that_were_lost(tmp_path):
    """The element that lacks them ends within another one; from the next key on all is right again."""
    film = films.make(*FILMS["mpeg2-long"])
    data = film.read_bytes()
    expected = films.key_packets(film)
    at = expected[3] + 3000
    path = tmp_path / "lost.mxf"
    path.write_bytes(data[:at] + data[at + 1000 :])
    assert films.keys(films.dump(path)) == [k if k < at else k - 1000 for k in expected]
