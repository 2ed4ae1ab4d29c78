# SPDX-License-Identifier: MIT
"""The transport stream parser against ffprobe: key packets, byte for byte.

Where a stream is damaged ffprobe and we need not agree; such tests say which rule we follow.
"""

import films
import pytest

PACKET = 188
H264 = ["-c:v", "libx264", "-preset", "veryfast"]
HEVC = ["-c:v", "libx265", "-preset", "veryfast", "-x265-params"]
AAC = ["-c:a", "aac"]
BOTH = [*films.VIDEO, *films.AUDIO]

FILMS = {
    "h264-closed": ["ts", *BOTH, *H264, "-g", 25, *AAC],
    "h264-open": ["ts", *films.VIDEO, *H264, "-x264-params", "open-gop=1:keyint=30:bframes=3:scenecut=0"],
    "h264-intra-refresh": ["ts", *films.VIDEO, *H264, "-x264-params", "intra-refresh=1:keyint=30"],
    "h264-no-b-frames": ["ts", *BOTH, *H264, "-bf", 0, "-g", 12, "-c:a", "mp2"],
    "h264-many-slices": ["ts", *BOTH, *H264, "-x264-params", "slices=4:keyint=20", "-c:a", "ac3"],
    "h264-all-intra": ["ts", *films.VIDEO, *H264, "-g", 1],
    "h264-interlaced": ["ts", *BOTH, *H264, "-flags", "+ilme+ildct", "-g", 20, *AAC],
    "h264-large-pictures": ["ts", *BOTH, *H264, "-g", 25, "-b:v", "20M", "-minrate", "20M", "-nal-hrd", "cbr", *AAC],
    "hevc-closed": ["ts", *BOTH, *HEVC, "log-level=error:keyint=25:open-gop=0", *AAC],
    "hevc-open": ["ts", *films.VIDEO, *HEVC, "log-level=error:keyint=25:open-gop=1"],
    "mpeg2": ["ts", *BOTH, "-c:v", "mpeg2video", "-g", 15, "-bf", 2, "-b:v", "2M", "-c:a", "mp2"],
    "mpeg2-no-audio": ["ts", *films.VIDEO, "-c:v", "mpeg2video", "-g", 12, "-b:v", "4M"],
    "mpeg1": ["ts", *films.VIDEO, "-c:v", "mpeg1video", "-g", 12, "-b:v", "1M"],
    "mpeg4": ["ts", *BOTH, "-c:v", "mpeg4", "-g", 24, "-c:a", "mp2"],
    "muxrate": ["ts", *BOTH, *H264, "-g", 25, *AAC, "-muxrate", "4M"],
    "pat-every-packet": ["ts", *BOTH, *H264, "-g", 25, *AAC, "-pat_period", "0.01"],
    "m2ts-h264": ["m2ts", *BOTH, *H264, "-g", 25, "-c:a", "ac3", "-mpegts_m2ts_mode", 1],
    "m2ts-mpeg2": ["m2ts", *BOTH, "-c:v", "mpeg2video", "-g", 15, "-c:a", "ac3", "-mpegts_m2ts_mode", 1],
    "m2ts-hevc": ["m2ts", *films.VIDEO, *HEVC, "log-level=error:keyint=25", "-mpegts_m2ts_mode", 1],
}


def packets_of(data, size=PACKET, before=0):
    """Offset of each packet's sync byte."""
    assert len(data) % size == 0
    return range(before, len(data), size)


def without_indicator(film, size=PACKET, before=0):
    """The same film, but no packet says any more that decoding can begin with it."""
    path = film.with_name(f"{film.stem}-silent{film.suffix}")
    data = bytearray(film.read_bytes())
    cleared = 0
    for at in packets_of(data, size, before):
        if data[at + 3] & 0x20 and data[at + 4]:
            cleared += data[at + 5] >> 6 & 1
            data[at + 5] &= 0xBF
    assert cleared
    path.write_bytes(data)
    return path


def agrees(path):
    film = films.dump(path)
    expected = films.key_packets(path)
    assert len(expected) > 1
    assert films.keys(film) == expected
    assert films.check_runs(film) == path.stat().st_size
    return film


@pytest.mark.parametrize("name", FILMS)
def test_key_packets_are_those_of_ffprobe(name):
    film = agrees(films.make(*FILMS[name]))
    assert film.container == ("M2TS" if name.startswith("m2ts") else "MPEG-TS")
    codec = film.tracks[0].codec
    assert codec == {"mpeg1": "mpeg2", "muxrate": "h264", "pat": "h264", "m2ts": name[5:]}.get(
        name.split("-")[0], name.split("-")[0]
    )


@pytest.mark.parametrize("name", FILMS)
def test_pictures_tell_what_packets_do_not(name):
    """Not every writer sets the random access indicator."""
    size, before = (192, 4) if name.startswith("m2ts") else (PACKET, 0)
    agrees(without_indicator(films.make(*FILMS[name]), size, before))


def test_a_piece_of_a_recording(tmp_path):
    """It begins amid a packet and a picture, and its tables come later."""
    whole = films.make(*FILMS["h264-closed"]).read_bytes()
    for skipped in (1000, 50_000, 123_456):
        path = tmp_path / f"piece{skipped}.ts"
        path.write_bytes(whole[skipped:])
        agrees(path)


def test_the_first_programme_with_video_is_taken(tmp_path):
    inputs = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=8"]
    inputs += ["-f", "lavfi", "-i", "testsrc=size=160x120:rate=25:duration=8", *films.AUDIO]
    film = films.make(
        "ts", *inputs, "-map", "2:a", "-map", "0:v", "-map", "1:v", *H264, "-g:v:0", 25, "-g:v:1", 10, "-c:a", "mp2",
        "-program", "title=sound:st=0", "-program", "title=one:st=1", "-program", "title=two:st=2",
    )  # fmt: skip
    agrees(film)


def test_one_stream_after_another(tmp_path):
    """Tables of the second say that the video is elsewhere now. ffprobe takes it to be another stream,
    v:1; for us the film goes on."""
    first = films.make(*FILMS["h264-closed"])
    second = films.make("ts", *BOTH, *H264, "-g", 20, *AAC, "-mpegts_start_pid", 0x300, "-mpegts_pmt_start_pid", 0x1200)
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    offset = first.stat().st_size
    film = films.dump(path)
    expected = films.key_packets(first) + [at + offset for at in films.key_packets(second)]
    assert films.keys(film) == expected
    assert films.check_runs(film) == path.stat().st_size


@pytest.mark.parametrize("junk", [1, 100, 187, 189, 5000, 70_000])
def test_bytes_that_came_in_between(tmp_path, junk):
    """ffprobe may lose some packets more when it seeks what follows; we go on with the next three in
    step. So we find all keys of the whole film that begin outside the junk."""
    film = films.make(*FILMS["h264-closed"])
    data = film.read_bytes()
    at = 500 * PACKET
    path = tmp_path / "junk.ts"
    path.write_bytes(data[:at] + b"\x55" * junk + data[at:])
    expected = [k if k < at else k + junk for k in films.key_packets(film)]
    assert films.keys(films.dump(path)) == expected


@pytest.mark.parametrize("lost", [1, 100, 188, 20_000])
def test_bytes_that_were_lost(tmp_path, lost):
    film = films.make(*FILMS["mpeg2"])
    data = film.read_bytes()
    at = 300 * PACKET + 50
    path = tmp_path / "lost.ts"
    path.write_bytes(data[:at] + data[at + lost :])
    found = films.keys(films.dump(path))
    expected = films.key_packets(film)
    assert [k for k in found if k < at] == [k for k in expected if k < at]
    assert [k for k in found if k > at] == [k - lost for k in expected if k > at + lost]


def test_a_film_that_ends_early(tmp_path):
    """Key pictures are as good as those of the whole film as long as the file has their first bytes."""
    film = films.make(*FILMS["h264-closed"])
    data = film.read_bytes()
    expected = films.key_packets(film)
    path = tmp_path / "short.ts"
    for end in range(4000, len(data), 17_391):
        path.write_bytes(data[:end])
        found = films.dump(path)
        assert found.container == "MPEG-TS"
        assert films.keys(found) == [k for k in expected if k + PACKET <= end]
        assert found.samples[-1].at + found.samples[-1].len == end
