# SPDX-License-Identifier: MIT
"""Matroska and WebM: every sample's place, length and key flag as ffprobe gives them."""

import subprocess

import pytest

import films

BLOCK_HEAD = 4  # of a block of one of the first 127 tracks; ffprobe's position is before it
PRORES_FRAME_HEAD = 8  # of each frame, left out by Matroska and put back by ffprobe

X264 = ["-c:v", "libx264", "-preset", "veryfast", "-g", "50"]
X265 = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=50:log-level=error"]
VP9 = ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-g", "50"]
VP8 = ["-c:v", "libvpx", "-cpu-used", "8", "-deadline", "realtime", "-g", "50"]
VORBIS = ["-c:a", "libvorbis"]
LIVE = ["-live", "1"]

FILMS = {
    "h264": ("mkv", "h264", [*X264, "-bf", "0"], None),
    "h264-b-frames-aac": ("mkv", "h264", [*X264, "-bf", "3"], ("aac", ["-c:a", "aac"])),
    "h264-open-gop-mp3": (
        "mkv",
        "h264",
        [*X264, "-bf", "3", "-x264-params", "open-gop=1"],
        ("mp3", ["-c:a", "libmp3lame"]),
    ),
    "h264-intra-refresh": ("mkv", "h264", [*X264, "-x264-params", "intra-refresh=1"], None),
    "hevc-open-gop-opus": ("mkv", "hevc", X265, ("opus", ["-c:a", "libopus"])),
    "hevc-closed-gop": ("mkv", "hevc", [*X265[:-1], X265[-1] + ":open-gop=0"], None),
    "vp9-opus": ("webm", "vp9", VP9, ("opus", ["-c:a", "libopus"])),
    "vp9-alt-ref": ("webm", "vp9", [*VP9, "-auto-alt-ref", "1", "-lag-in-frames", "10"], None),
    "vp8-vorbis": ("webm", "vp8", VP8, ("vorbis", VORBIS)),
    "av1": ("mkv", "av1", ["-c:v", "libsvtav1", "-preset", "12", "-g", "50"], None),
    "mpeg2-ac3": ("mkv", "mpeg2", ["-c:v", "mpeg2video", "-bf", "2"], ("ac3", ["-c:a", "ac3"])),
    "mpeg4-flac": ("mkv", "mpeg4", ["-c:v", "mpeg4", "-bf", "2"], ("flac", ["-c:a", "flac"])),
    "prores-pcm": ("mkv", "prores", ["-c:v", "prores"], ("pcm", ["-c:a", "pcm_s16le"])),
    "huffyuv": ("mkv", "huffyuv", ["-c:v", "huffyuv"], None),
    "mjpeg-pcm": ("mkv", "mjpeg", ["-c:v", "mjpeg"], ("pcm", ["-c:a", "pcm_s24le"])),
    "small-clusters": ("mkv", "h264", [*X264, "-cluster_size_limit", "4000"], ("vorbis", VORBIS)),
    "short-clusters": ("webm", "vp9", [*VP9, "-cluster_time_limit", "200"], ("vorbis", VORBIS)),
    "live": ("mkv", "h264", [*X264, *LIVE], ("aac", ["-c:a", "aac"])),
    "cues-in-front": ("mkv", "h264", [*X264, "-reserve_index_space", "4000"], ("vorbis", VORBIS)),
}


def make(name):
    suffix, _, video, audio = FILMS[name]
    if audio:
        return films.make(suffix, *films.VIDEO, *films.AUDIO, *video, *audio[1])
    return films.make(suffix, *films.VIDEO, *video)


def expect_as_ffprobe(path, codec=None):
    """Each track's samples are ffprobe's packets; returns the film."""
    film = films.dump(path)
    assert film.container == "Matroska"
    for track in film.tracks:
        left_out = PRORES_FRAME_HEAD if track.codec == "prores" else 0
        ours = [
            (s.at - BLOCK_HEAD, s.len + left_out, s.key)
            for s in film.samples
            if s.track == track.number
        ]
        theirs = films.packets(path, str(track.number))
        assert ours == theirs
        assert len(ours) > 50
    if codec:
        assert film.tracks[0].kind == "video"
        assert film.tracks[0].codec == codec
        assert [at - BLOCK_HEAD for at in films.keys(film)] == films.key_packets(path)
    return film


@pytest.mark.parametrize("name", FILMS)
def test_samples_are_those_of_ffprobe(name):
    _, codec, _, audio = FILMS[name]
    film = expect_as_ffprobe(make(name), codec)
    assert [t.codec for t in film.tracks] == [codec, audio[0]] if audio else [codec]
    assert [t.whole for t in film.tracks] == [t.codec != "prores" for t in film.tracks]


def test_two_audio_tracks_and_subtitles(tmp_path):
    text = tmp_path / "text.srt"
    text.write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n\n2\n00:00:03,000 --> 00:00:04,000\nyou\n")
    maps = ["-map", "0:v", "-map", "1:a", "-map", "1:a", "-map", "2:s"]
    codecs = [*X264, "-c:a:0", "aac", "-c:a:1", "libopus", "-c:s", "srt"]
    path = films.make("mkv", *films.VIDEO, *films.AUDIO, "-i", text, *maps, *codecs)
    film = expect_as_ffprobe(path, "h264")
    assert [t.codec for t in film.tracks] == ["h264", "aac", "opus"]


def test_sound_alone():
    film = expect_as_ffprobe(films.make("mka", *films.AUDIO, "-c:a", "libopus"))
    assert [(t.kind, t.codec) for t in film.tracks] == [("audio", "opus")]


@pytest.mark.parametrize("live", [[], LIVE])
def test_written_to_a_pipe(tmp_path, live):
    """The segment's size is not known."""
    path = tmp_path / "pipe.mkv"
    command = ["ffmpeg", "-v", "error", "-i", str(make("h264-b-frames-aac")), "-c", "copy", *live]
    with path.open("wb") as out:
        subprocess.run([*command, "-f", "matroska", "pipe:1"], check=True, stdout=out)
    head = path.read_bytes()[:200]
    assert bytes.fromhex("18538067 01ffffffffffffff") in head
    expect_as_ffprobe(path, "h264")


def number(data, at):
    """The value of the EBML number at AT and where it ends."""
    length = 9 - data[at].bit_length()
    return int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1), at + length


def with_unknown_sizes(data):
    """Every Cluster, and the Segment, with its size replaced by the one that says 'unknown'."""
    segment, cluster = bytes.fromhex("18538067"), bytes.fromhex("1f43b675")
    data, at = bytearray(data), data.index(segment)
    changed = 0
    while at < len(data):
        size_at = number(data, at)[1]
        size, payload = number(data, size_at)
        name = bytes(data[at:size_at])
        if name in (segment, cluster):
            length = payload - size_at
            data[size_at:payload] = ((1 << 7 * length + 1) - 1).to_bytes(length, "big")
            changed += 1
        at = payload if name == segment else payload + size
    return bytes(data), changed


@pytest.mark.parametrize("name", ["small-clusters", "vp9-opus", "hevc-open-gop-opus"])
def test_clusters_of_unknown_size(tmp_path, name):
    data, changed = with_unknown_sizes(make(name).read_bytes())
    assert changed > 2
    path = tmp_path / "unknown.mkv"
    path.write_bytes(data)
    expect_as_ffprobe(path, FILMS[name][1])


@pytest.mark.asan
def test_what_is_there_of_a_truncated_film(tmp_path):
    whole = make("h264-b-frames-aac")
    data = whole.read_bytes()
    film = films.dump(whole)
    path = tmp_path / "cut.mkv"
    for length in range(1000, len(data), len(data) // 40):
        path.write_bytes(data[:length])
        assert films.dump(path).samples == [s for s in film.samples if s.at + s.len <= length]


@pytest.mark.asan
def test_after_a_hole_the_film_goes_on(tmp_path):
    """A half-loaded film has zeros in it: what lies in whole clusters behind them is found."""
    whole = make("small-clusters")
    data = bytearray(whole.read_bytes())
    hole = range(len(data) // 3, len(data) // 2)
    data[hole.start : hole.stop] = bytes(len(hole))
    path = tmp_path / "hole.mkv"
    path.write_bytes(data)
    samples = films.dump(whole).samples
    found = films.dump(path).samples
    before = [s for s in samples if s.at + s.len <= hole.start]
    assert found[: len(before)] == before
    behind = data.index(bytes.fromhex("1f43b675"), hole.stop)
    assert [s for s in found if s.at > behind] == [s for s in samples if s.at > behind]


def test_two_films_behind_one_another(tmp_path):
    first, second = make("h264-b-frames-aac"), make("small-clusters")
    path = tmp_path / "two.mkv"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    film = films.dump(path)
    assert [t.codec for t in film.tracks] == ["h264", "aac", "vorbis"]
    shift = first.stat().st_size
    expected = [(s.at, s.len, s.key) for s in films.dump(first).samples]
    expected += [(s.at + shift, s.len, s.key) for s in films.dump(second).samples]
    assert [(s.at, s.len, s.key) for s in film.samples] == expected
