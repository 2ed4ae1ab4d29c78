# SPDX-License-Identifier: MIT
"""AVI: every sample's place, length and key flag as ffprobe gives them."""

import struct

import pytest

import films

MPEG4 = ["-c:v", "mpeg4", "-bf", "2", "-g", "25"]
X264 = ["-c:v", "libx264", "-preset", "veryfast", "-g", "50"]
X265 = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=50:log-level=error"]
VP9 = ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-g", "50"]
MP3 = ("mp3", ["-c:a", "libmp3lame"])
PCM = ("pcm", ["-c:a", "pcm_s16le"])

# name: codec, whether its pictures are all keys, encoder, sound
FILMS = {
    "mpeg4-mp3": ("mpeg4", False, MPEG4, MP3),
    "mpeg4-pcm": ("mpeg4", False, MPEG4, PCM),
    "xvid": ("mpeg4", False, [*MPEG4, "-vtag", "XVID"], None),
    "msmpeg4": ("msmpeg4", False, ["-c:v", "msmpeg4", "-g", "25"], MP3),
    "h264-mp3": ("h264", False, [*X264, "-bf", "0"], MP3),
    "h264-b-frames-ac3": ("h264", False, [*X264, "-bf", "3"], ("ac3", ["-c:a", "ac3"])),
    "h264-open-gop": ("h264", False, [*X264, "-x264-params", "open-gop=1"], None),
    "hevc-aac": ("hevc", False, [*X265, "-vtag", "HEVC"], ("aac", ["-c:a", "aac"])),
    "vp9": ("vp9", False, VP9, None),
    "mpeg2-mp2": ("mpeg2", False, ["-c:v", "mpeg2video", "-g", "15"], ("mp2", ["-c:a", "mp2"])),
    "mjpeg-pcm": ("mjpeg", True, ["-c:v", "mjpeg"], ("pcm", ["-c:a", "pcm_s24le"])),
    "prores-pcm": ("prores", True, ["-c:v", "prores"], PCM),
    "huffyuv": ("huffyuv", True, ["-c:v", "huffyuv"], None),
    "ffv1-flac": ("ffv1", False, ["-c:v", "ffv1", "-g", "10"], ("flac", ["-c:a", "flac"])),
    "raw": ("raw", True, ["-c:v", "rawvideo", "-pix_fmt", "yuv420p", "-s", "64x48"], MP3),
}


def make(name):
    _, _, video, audio = FILMS[name]
    if audio:
        return films.make("avi", *films.VIDEO, *films.AUDIO, *video, *audio[1])
    return films.make("avi", *films.VIDEO, *video)


def of_track(film, number):
    return [(s.at, s.len, s.key) for s in film.samples if s.track == number]


def expect_as_ffprobe(path, codec):
    film = films.dump(path)
    assert film.container == "AVI"
    assert (film.tracks[0].kind, film.tracks[0].codec) == ("video", codec)
    for track in film.tracks:
        assert of_track(film, track.number) == films.packets(path, str(track.number))
    assert films.keys(film) == films.key_packets(path)
    return film


@pytest.mark.parametrize("name", FILMS)
def test_samples_are_those_of_ffprobe(name):
    codec, all_key, _, audio = FILMS[name]
    film = expect_as_ffprobe(make(name), codec)
    assert [t.codec for t in film.tracks] == [codec, audio[0]] if audio else [codec]
    pictures = of_track(film, 0)
    assert len(pictures) == 200
    assert all(key for _, _, key in pictures) == all_key
    # with start codes they are not what MP4 holds
    assert film.tracks[0].whole == (codec not in ("h264", "hevc"))


def test_two_sounds():
    maps = ["-map", "0:v", "-map", "1:a", "-map", "1:a"]
    codecs = [*MPEG4, "-c:a:0", "pcm_s16le", "-c:a:1", "libmp3lame"]
    film = expect_as_ffprobe(films.make("avi", *films.VIDEO, *films.AUDIO, *maps, *codecs), "mpeg4")
    assert [t.codec for t in film.tracks] == ["mpeg4", "pcm", "mp3"]


def chunks(data, at, end):
    """(letters, payload) of the chunks in a stretch of bytes."""
    while at + 8 <= end:
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        yield name, data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def chunk(name, payload):
    return name + struct.pack("<I", len(payload)) + payload + bytes(len(payload) % 2)


def riff(kind, name, children):
    return chunk(kind, name + b"".join(children))


def parts(film):
    """The head's chunks, its streams' chunks, the samples and their keys by idx1 of an AVI file."""
    data = film.read_bytes()
    head, streams, samples, flags = [], [], [], []
    for name, payload in chunks(data, 12, len(data)):
        if name == b"LIST" and payload[:4] == b"hdrl":
            for inner, content in chunks(payload, 4, len(payload)):
                if inner == b"LIST" and content[:4] == b"strl":
                    streams.append(list(chunks(content, 4, len(content))))
                elif inner != b"LIST":
                    head.append((inner, content))
        elif name == b"LIST" and payload[:4] == b"movi":
            samples = list(chunks(payload, 4, len(payload)))
        elif name == b"idx1":
            flags = [struct.unpack_from("<I", payload, i + 4)[0] for i in range(0, len(payload), 16)]
    return head, streams, samples, [bool(f & 16) for f in flags]


SUPER = struct.Struct("<HBBI4s12x")
STANDARD = struct.Struct("<HBBI4sQI")


def head_list(head, streams, supers):
    """LIST hdrl; supers[i] are the rows of stream i's index of indexes."""
    lists = []
    for number, stream in enumerate(streams):
        rows = b"".join(struct.pack("<QII", at, size, 1) for at, size in supers[number][1])
        index = SUPER.pack(4, 0, 0, len(supers[number][1]), supers[number][0]) + rows
        kept = [chunk(*c) for c in stream if c[0] in (b"strh", b"strf")]
        lists.append(riff(b"LIST", b"strl", [*kept, chunk(b"indx", index)]))
    return riff(b"LIST", b"hdrl", [*(chunk(*c) for c in head if c[0] != b"JUNK"), *lists])


def movi(samples, keys, start, letters):
    """LIST movi at START of the file, an ix## for each stream at its end; and the rows that index them."""
    body, rows, at = [], {name: [] for name in letters}, start + 12
    for (name, payload), key in zip(samples, keys):
        rows[name].append(struct.pack("<II", at + 8 - start, len(payload) | (0 if key else 1 << 31)))
        body.append(chunk(name, payload))
        at += len(body[-1])
    places = []
    for name in letters:
        table = STANDARD.pack(2, 0, 1, len(rows[name]), name, start, 0) + b"".join(rows[name])
        body.append(chunk(b"ix" + name[:2], table))
        places.append((at, len(body[-1])))
        at += len(body[-1])
    return riff(b"LIST", b"movi", body), places


def opendml(film, lists):
    """The film as OpenDML with its samples in that many lists; no idx1."""
    head, streams, samples, keys = parts(film)
    letters = [next(n for n, _ in samples if n[:2] == b"%02d" % i) for i in range(len(streams))]
    each = -(-len(samples) // lists)
    supers = [(name, [(0, 0)] * lists) for name in letters]
    at = 12 + len(head_list(head, streams, supers))
    places, files = [], []
    for i in range(lists):
        stretch = slice(i * each, (i + 1) * each)
        list_at = at if i == 0 else at + 12
        body, found = movi(samples[stretch], keys[stretch], list_at, letters)
        places.append(found)
        files.append(body)
        at = list_at + len(body)
    supers = [(name, [p[i] for p in places]) for i, name in enumerate(letters)]
    first = riff(b"RIFF", b"AVI ", [head_list(head, streams, supers), files[0]])
    return first + b"".join(riff(b"RIFF", b"AVIX", [body]) for body in files[1:])


@pytest.mark.parametrize("name", ["mpeg4-mp3", "h264-b-frames-ac3", "msmpeg4", "mjpeg-pcm"])
def test_opendml_of_several_lists(tmp_path, name):
    path = tmp_path / "opendml.avi"
    path.write_bytes(opendml(make(name), 4))
    assert path.read_bytes().count(b"AVIX") == 3
    film = expect_as_ffprobe(path, FILMS[name][0])
    before = films.dump(make(name))
    for track in film.tracks:
        lens = [(s.len, s.key) for s in film.samples if s.track == track.number]
        assert lens == [(s.len, s.key) for s in before.samples if s.track == track.number]


@pytest.fixture(name="large")
def large_fixture(tmp_path):
    """More than a GiB, so that ffmpeg makes a second list: small pictures and very much sound."""
    path = tmp_path / "large.avi"
    inputs = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=40"]
    inputs += ["-f", "lavfi", "-i", "anullsrc=r=1200000:cl=octagonal:n=48000:d=40"]
    films.ffmpeg(path, *inputs, *MPEG4, "-c:a", "pcm_s24le")
    yield path
    path.unlink()


@pytest.mark.full
def test_opendml_as_ffmpeg_writes_it(large):
    assert large.stat().st_size > 1 << 30
    with large.open("rb") as file:
        file.seek(1 << 30)
        assert b"AVIX" in file.read(64 << 20)
    film = films.dump(large)
    assert of_track(film, 0) == films.packets(large, "0")
    assert len(of_track(film, 0)) == 1000
    # ffprobe cuts such sound up: it is all there
    sound = of_track(film, 1)
    assert sum(length for _, length, _ in sound) == sum(n for _, n, _ in films.packets(large, "1"))


@pytest.mark.asan
def test_what_is_there_of_a_truncated_film(tmp_path):
    """Its index has gone: the samples are known still, but no longer their keys."""
    whole = make("mpeg4-mp3")
    data = whole.read_bytes()
    samples = films.dump(whole).samples
    path = tmp_path / "cut.avi"
    last = max(s.at + s.len for s in samples)
    for length in range(12000, last, last // 40):
        path.write_bytes(data[:length])
        expected = [s for s in samples if s.at + s.len <= length]
        expected = [s if s.track else s._replace(key=False) for s in expected]
        assert films.dump(path).samples == expected


def test_pictures_that_are_all_keys_need_no_index(tmp_path):
    whole = make("prores-pcm")
    data = whole.read_bytes()
    path = tmp_path / "cut.avi"
    path.write_bytes(data[: data.rindex(b"idx1")])
    assert films.dump(path) == films.dump(whole)


def test_the_last_list_of_opendml_has_no_index_yet(tmp_path):
    data = opendml(make("mpeg4-mp3"), 3)
    path = tmp_path / "cut.avi"
    path.write_bytes(data)
    samples = films.dump(path).samples
    length = data.rindex(b"ix00")
    path.write_bytes(data[:length])
    last_list = data.rindex(b"AVIX")
    expected = [
        s._replace(key=False) if s.at > last_list and not s.track else s for s in samples
    ]
    assert films.dump(path).samples == expected
