# SPDX-License-Identifier: MIT
"""MP4, MOV and fragmented MP4: all packets of all films are where ffprobe says, and so are the keys.
"""

import os
import struct
from collections import namedtuple

import pytest

import films
from films import AUDIO, VIDEO

pytestmark = pytest.mark.asan

Recipe = namedtuple("Recipe", "suffix arguments container codecs")

BOTH = [*VIDEO, *AUDIO]
STEREO_24 = ["-f", "lavfi", "-i", "aevalsrc=sin(440*t)|sin(441*t)|0|0|sin(70*t)|0:c=5.1:d=8"]
H264 = ["-c:v", "libx264", "-preset", "veryfast"]
B_FRAMES = [*H264, "-g", 50, "-bf", 3]
OPEN = [*H264, "-x264-params", "open-gop=1:keyint=25:bframes=3:scenecut=0"]
REFRESH = [*H264, "-x264-params", "intra-refresh=1:keyint=30"]
CLOSED = [*H264, "-g", 12, "-bf", 0]
HEVC = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=25:log-level=error"]
CLOSED_HEVC = [*HEVC[:-1], "keyint=25:open-gop=0:log-level=error"]
VP9 = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", 8, "-g", 40]
AV1 = ["-c:v", "libsvtav1", "-preset", 12, "-g", 50]
MPEG2 = ["-c:v", "mpeg2video", "-g", 15, "-bf", 2, "-b:v", "1M"]
PRORES = ["-c:v", "prores_ks", "-profile:v", 0]
AAC = ["-c:a", "aac"]


def fragments(*flags):
    return ["-movflags", "+".join(["", *flags])]


STRETCHES = ("pcm", "adpcm")
MP4, FRAGMENTED = "MP4", "fragmented MP4"

RECIPES = {
    "b_frames": Recipe("mp4", [*BOTH, *B_FRAMES, *AAC], MP4, ["h264", "aac"]),
    "b_frames_mov": Recipe("mov", [*BOTH, *B_FRAMES, "-c:a", "pcm_s16le"], MP4, ["h264", "pcm"]),
    "open_gop": Recipe("mp4", [*VIDEO, *OPEN], MP4, ["h264"]),
    "open_gop_mov": Recipe("mov", [*BOTH, *OPEN, *AAC], MP4, ["h264", "aac"]),
    "intra_refresh": Recipe("mp4", [*BOTH, *REFRESH, "-c:a", "libmp3lame"], MP4, ["h264", "mp3"]),
    "intra_refresh_mov": Recipe("mov", [*VIDEO, *REFRESH], MP4, ["h264"]),
    "closed_gop": Recipe("mp4", [*BOTH, *CLOSED, "-c:a", "ac3"], MP4, ["h264", "ac3"]),
    "closed_gop_mov": Recipe("mov", [*VIDEO, *CLOSED], MP4, ["h264"]),
    "faststart": Recipe("mp4", [*BOTH, *B_FRAMES, *AAC, *fragments("faststart")], MP4,
                        ["h264", "aac"]),
    "faststart_mov": Recipe("mov", [*BOTH, *OPEN, "-c:a", "pcm_s24le", *fragments("faststart")],
                            MP4, ["h264", "pcm"]),
    "hevc": Recipe("mp4", [*BOTH, *HEVC, "-tag:v", "hvc1", *AAC], MP4, ["hevc", "aac"]),
    "hevc_hev1": Recipe("mp4", [*VIDEO, *CLOSED_HEVC], MP4, ["hevc"]),
    "hevc_mov": Recipe("mov", [*VIDEO, *HEVC, "-tag:v", "hvc1"], MP4, ["hevc"]),
    "vp9": Recipe("mp4", [*BOTH, *VP9, "-c:a", "libopus"], MP4, ["vp9", "opus"]),
    "av1": Recipe("mp4", [*VIDEO, *AV1], MP4, ["av1"]),
    "mpeg2": Recipe("mp4", [*BOTH, *MPEG2, "-c:a", "mp2"], MP4, ["mpeg2", "mp3"]),
    "mpeg2_mov": Recipe("mov", [*BOTH, *MPEG2, "-c:a", "pcm_s16be"], MP4, ["mpeg2", "pcm"]),
    "mpeg4": Recipe("mp4", [*BOTH, "-c:v", "mpeg4", "-bf", 2, *AAC], MP4, ["mpeg4", "aac"]),
    "prores": Recipe("mov", [*VIDEO, *STEREO_24, *PRORES, "-c:a", "pcm_s24le"], MP4,
                     ["prores", "pcm"]),
    "prores_aac": Recipe("mov", [*BOTH, *PRORES, *AAC], MP4, ["prores", "aac"]),
    "dnxhd": Recipe("mov", [*VIDEO, "-c:v", "dnxhd", "-profile:v", "dnxhr_lb", "-pix_fmt",
                            "yuv422p", "-s", "640x360"], MP4, ["dnxhd"]),
    "mjpeg": Recipe("mov", [*BOTH, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_f32le"],
                    MP4, ["mjpeg", "pcm"]),
    "alac": Recipe("mov", [*AUDIO, "-c:a", "alac"], MP4, ["alac"]),
    "adpcm": Recipe("mov", [*AUDIO, "-c:a", "adpcm_ima_qt"], MP4, ["adpcm"]),
    "m4a": Recipe("m4a", [*AUDIO, *AAC], MP4, ["aac"]),
    "flac": Recipe("mp4", [*AUDIO, "-c:a", "flac", "-strict", -2], MP4, ["flac"]),
    "frag_keyframe": Recipe("mp4", [*BOTH, *B_FRAMES, *AAC, *fragments("frag_keyframe")],
                            FRAGMENTED, ["h264", "aac"]),
    "frag_empty_moov": Recipe("mp4", [*BOTH, *OPEN, *AAC,
                                      *fragments("frag_keyframe", "empty_moov")],
                              FRAGMENTED, ["h264", "aac"]),
    "frag_base_moof": Recipe("mp4", [*BOTH, *B_FRAMES, *AAC, *fragments(
        "frag_keyframe", "empty_moov", "default_base_moof")], FRAGMENTED, ["h264", "aac"]),
    "frag_separate": Recipe("mp4", [*BOTH, *HEVC, *AAC, *fragments(
        "frag_keyframe", "empty_moov", "separate_moof")], FRAGMENTED, ["hevc", "aac"]),
    "frag_omit_offset": Recipe("mp4", [*BOTH, *B_FRAMES, *AAC, *fragments(
        "frag_keyframe", "empty_moov", "omit_tfhd_offset")], FRAGMENTED, ["h264", "aac"]),
    "frag_duration": Recipe("mp4", [*BOTH, *VP9, *AAC, "-frag_duration", 700000, *fragments(
        "empty_moov")], FRAGMENTED, ["vp9", "aac"]),
    "frag_every_frame": Recipe("mp4", [*BOTH, *CLOSED, *AAC, *fragments(
        "frag_every_frame", "empty_moov", "default_base_moof")], FRAGMENTED, ["h264", "aac"]),
    "frag_cmaf": Recipe("mp4", [*BOTH, *B_FRAMES, *AAC, *fragments(
        "cmaf", "frag_keyframe", "dash", "global_sidx")], FRAGMENTED, ["h264", "aac"]),
    "frag_mov": Recipe("mov", [*BOTH, *PRORES, "-c:a", "pcm_s16le", "-frag_duration", 900000],
                       FRAGMENTED, ["prores", "pcm"]),
    "frag_delay_moov": Recipe("mp4", [*BOTH, *B_FRAMES, *AAC, *fragments(
        "delay_moov", "frag_keyframe", "negative_cts_offsets", "skip_trailer")], FRAGMENTED,
        ["h264", "aac"]),
    "frag_smooth": Recipe("ismv", [*BOTH, *B_FRAMES, *AAC], FRAGMENTED, ["h264", "aac"]),
    "phone": Recipe("3gp", [*BOTH, "-c:v", "h263", "-s", "352x288", *AAC], MP4, ["h263", "aac"]),
    "f4v": Recipe("f4v", [*BOTH, *CLOSED, "-c:a", "libmp3lame"], MP4, ["h264", "mp3"]),
    "many_channels": Recipe("mov", [*BOTH, *CLOSED, "-c:a", "pcm_s32le", "-ac", 8], MP4,
                            ["h264", "pcm"]),
    "rtp_hints": Recipe("mp4", [*BOTH, *B_FRAMES, *AAC, *fragments("rtphint")], MP4,
                        ["h264", "aac", "", ""]),
    "encrypted": Recipe("mp4", [*BOTH, *B_FRAMES, *AAC, "-encryption_scheme", "cenc-aes-ctr",
                                "-encryption_key", "00112233445566778899aabbccddeeff",
                                "-encryption_kid", "112233445566778899aabbccddeeff00"],
                        MP4, ["", ""]),
    "three_tracks": Recipe("mp4", [*BOTH, "-map", "0", "-map", "1", "-map", "1", *B_FRAMES,
                                   "-c:a:0", "aac", "-c:a:1", "ac3"], MP4, ["h264", "aac", "ac3"]),
}


def made(name):
    recipe = RECIPES[name]
    return films.make(recipe.suffix, *recipe.arguments)


def streams(film):
    """(ffprobe's name, our track) of what is video or audio."""
    count = {"v": 0, "a": 0}
    for track in film.tracks:
        letter = track.kind[0]
        if letter in count:
            yield f"{letter}:{count[letter]}", track
            count[letter] += 1


def joined(packets):
    """Stretches of the file that packets without a gap between them make up."""
    found = []
    for at, length, _ in packets:
        if found and found[-1][1] == at:
            found[-1][1] = at + length
        else:
            found.append([at, at + length])
    return found


def check(path, *options):
    """All that our parser finds in a film is what ffprobe does."""
    film = films.dump(path)
    assert film.samples
    for stream, track in streams(film):
        ours = [(s.at, s.len, s.key) for s in film.samples if s.track == track.number]
        theirs = films.packets(path, stream, *options)
        assert theirs
        if track.codec in STRETCHES:
            ours, theirs = joined(ours), joined(theirs)
        assert ours == theirs, f"{stream} of {path}"
        if track.kind == "video":
            keys = [s.at for s in film.samples if s.track == track.number and s.key]
            assert keys == [at for at, _, key in films.packets(path, stream, *options) if key]
    return film


@pytest.mark.parametrize("name", RECIPES)
def test_film(name):
    recipe = RECIPES[name]
    film = check(made(name))
    assert film.container == recipe.container
    assert [t.codec if t.codec != "-" else "" for t in film.tracks] == recipe.codecs
    for track in film.tracks:
        assert track.whole == (track.codec not in (*STRETCHES, "-")) and not track.runs


def test_sound_without_compression_is_taken_in_stretches():
    film = films.dump(made("b_frames_mov"))
    number = next(t.number for t in film.tracks if t.kind == "audio")
    lengths = [s.len for s in film.samples if s.track == number]
    assert sum(lengths) == 8 * 48000 * 2 and len(lengths) < 1000


def boxes(data, at, end):
    """(type, start, content, end) of boxes; as they are in the films above."""
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if size == 1:
            size, header = struct.unpack_from(">Q", data, at + 8)[0], 16
        yield kind, at, at + header, at + size
        at += size


def rewritten(data, at, end, change):
    """The boxes again, with change(type, content) for those that hold no others."""
    out = b""
    for kind, _, content, stop in boxes(data, at, end):
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf"):
            inner = rewritten(data, content, stop, change)
        else:
            kind, inner = change(kind, data[content:stop])
        out += struct.pack(">I4s", len(inner) + 8, kind) + inner
    return out


def split(path):
    """What precedes `moov`, the last box, and what changes make of it."""
    data = path.read_bytes()
    kind, start, _, end = list(boxes(data, 0, len(data)))[-1]
    assert kind == b"moov"
    return data[:start], lambda change: rewritten(data, start, end, change)


def widened(shift):
    """Chunk offsets as 64 bits, moved."""
    def change(kind, content):
        if kind != b"stco":
            return kind, content
        offsets = struct.unpack(f">{(len(content) - 8) // 4}I", content[8:])
        return b"co64", content[:8] + b"".join(struct.pack(">Q", o + shift) for o in offsets)
    return change


def test_offsets_of_64_bits(tmp_path):
    head, moov = split(made("b_frames"))
    path = tmp_path / "film.mp4"
    path.write_bytes(head + moov(widened(0)))
    film = check(path)
    assert film.samples == films.dump(made("b_frames")).samples


@pytest.mark.parametrize("moov_first", [False, True])
def test_a_film_beyond_4_gib(tmp_path, moov_first):
    """A hole of 5 GiB in a box with a size of 64 bits, and the samples behind it."""
    head, moov = split(made("b_frames_mov"))
    hole = 5 << 30
    _, start, _, _ = next(b for b in boxes(head, 0, len(head)) if b[0] == b"mdat")
    shift = hole + (len(moov(widened(0))) if moov_first else 0)
    parts = moov(widened(shift))
    path = tmp_path / "film.mov"
    with open(path, "wb") as file:
        file.write(head[:start] + (parts if moov_first else b""))
        file.write(struct.pack(">I4sQ", 1, b"free", hole))
        file.seek(start + shift)
        file.write(head[start:] + (b"" if moov_first else parts))
    film = check(path)
    assert min(s.at for s in film.samples) > hole
    assert len(film.samples) == len(films.dump(made("b_frames_mov")).samples)


def test_a_wide_mdat(tmp_path):
    """The 8 bytes before mdat are there to make its size one of 64 bits."""
    data = made("open_gop_mov").read_bytes()
    _, start, _, end = next(b for b in boxes(data, 0, len(data)) if b[0] == b"mdat")
    assert data[start - 4:start] in (b"wide", b"free")
    path = tmp_path / "film.mov"
    path.write_bytes(data[:start - 8] + struct.pack(">I4sQ", 1, b"mdat", end - start + 8)
                     + data[start + 8:])
    assert check(path).samples == films.dump(made("open_gop_mov")).samples


def test_old_quicktime_has_no_ftyp(tmp_path):
    data = made("mpeg2_mov").read_bytes()
    kind, _, _, end = next(boxes(data, 0, len(data)))
    assert kind == b"ftyp"
    path = tmp_path / "film.mov"
    path.write_bytes(struct.pack(">I4s", 8, b"wide") + struct.pack(">I4s", end - 8, b"mdat")
                     + bytes(end - 16) + data[end:])
    assert films.dump(path).samples == films.dump(made("mpeg2_mov")).samples
    path.write_bytes(struct.pack(">I4s", 8, b"free") + struct.pack(">I4s", end - 8, b"skip")
                     + bytes(end - 16) + data[end:])
    check(path)


def test_edit_lists_are_ignored():
    """A cut without a new encoding begins at a key picture and hides what precedes the cut."""
    for name, suffix in ("b_frames", "mp4"), ("open_gop_mov", "mov"):
        path = films.make(suffix, "-ss", 1.3, "-i", made(name), "-c", "copy", "-map", 0)
        data = path.read_bytes()
        assert data.count(b"elst") == 2
        check(path, "-ignore_editlist", "1")


def test_rewraps_have_the_same_samples():
    first = check(made("b_frames"))
    for suffix, flags in ("mov", []), ("mp4", ["faststart"]), ("mp4", ["frag_keyframe"]):
        more = fragments(*flags) if flags else []
        again = check(films.rewrap(made("b_frames"), suffix, *more))
        for track in first.tracks:
            assert ([(s.len, s.key) for s in first.samples if s.track == track.number]
                    == [(s.len, s.key) for s in again.samples if s.track == track.number])


def test_tracks_that_are_neither_video_nor_audio(tmp_path):
    text = tmp_path / "words.srt"
    text.write_text("1\n00:00:01,000 --> 00:00:02,000\nA word.\n\n"
                    "2\n00:00:03,000 --> 00:00:05,000\nAnother.\n")
    for suffix, more in ("mp4", []), ("mov", ["-timecode", "01:00:00:00"]), \
            ("mp4", fragments("frag_keyframe")):
        path = tmp_path / f"film.{suffix}"
        films.ffmpeg(path, "-i", made("b_frames"), "-i", text, "-c", "copy", "-c:s", "mov_text",
                     *more)
        film = check(path)
        others = [t for t in film.tracks if t.kind == "other"]
        assert others and not any(t.whole for t in others)
        assert not any(s.track == t.number for s in film.samples for t in others)


@pytest.mark.parametrize("name", ["faststart", "faststart_mov", "frag_base_moof", "frag_cmaf",
                                  "frag_keyframe"])
def test_a_film_that_ends_early(tmp_path, name):
    whole = films.dump(made(name))
    data = made(name).read_bytes()
    pcm = {t.number for t in whole.tracks if t.codec == "pcm"}
    path = tmp_path / "film"
    for share in 0.4, 0.75, 0.999:
        end = int(len(data) * share)
        path.write_bytes(data[:end])
        ours = [s for s in films.dump(path).samples if s.track not in pcm]
        lying_within = [s for s in whole.samples if s.at + s.len <= end and s.track not in pcm]
        if "frag" not in name:
            assert ours == lying_within
        else:
            # those of a fragment whose tables were cut off are missing
            assert ours == lying_within[:len(ours)] and len(ours) > 0.3 * len(lying_within)


def test_a_film_without_its_tables_is_none(tmp_path):
    head, _ = split(made("b_frames"))
    path = tmp_path / "film.mp4"
    path.write_bytes(head)
    assert films.dump(path) == films.Film("none", [], [])


@pytest.mark.parametrize("entries", ["marked", "cleared"])
def test_samples_elsewhere(tmp_path, entries):
    """The flag of a data reference says that the samples are in this file."""
    head, moov = split(made("b_frames"))
    flag = 1 if entries == "marked" else 0
    path = tmp_path / "film.mp4"
    path.write_bytes(head + moov(lambda kind, content: (
        kind, content[:-1] + bytes([flag]) if kind == b"dref" else content)))
    assert bool(films.dump(path).samples) == (entries == "marked")


@pytest.mark.parametrize("stss", ["none", "empty"])
def test_key_pictures_without_a_table(tmp_path, stss):
    """No table: every picture is one. An empty table: none is. (ffprobe then looks at the pictures.)"""
    head, moov = split(made("closed_gop_mov"))
    path = tmp_path / "film.mov"
    path.write_bytes(head + moov(lambda kind, content: (
        (b"free", content) if stss == "none" else (kind, bytes(8))) if kind == b"stss"
        else (kind, content)))
    found, whole = films.dump(path), films.dump(made("closed_gop_mov"))
    assert {s.key for s in found.samples} == {stss == "none"}
    assert [s[:3] for s in found.samples] == [s[:3] for s in whole.samples]


def test_open_gops_that_are_sample_groups(tmp_path):
    """Some programs mark the key pictures of open GOPs by a group of the type `rap ` only."""
    head, moov = split(made("hevc_mov"))
    keys = [i for i, s in enumerate(films.dump(made("hevc_mov")).samples) if s.key]
    runs, at = [], 0
    for number in keys[1:]:
        runs += [(number - at, 0), (1, 1)]
        at = number + 1
    assert len(keys) > 4

    def change(kind, content):
        if kind != b"stss":
            return kind, content
        first = content[:4] + struct.pack(">II", 1, 1)
        groups = struct.pack(">I4sI", 0, b"rap ", len(runs)) + b"".join(
            struct.pack(">II", *run) for run in runs)
        described = struct.pack(">I4sIIB", 1 << 24, b"rap ", 1, 1, 0)
        # these follow stss, whose size unfolded() puts right
        return kind, first + struct.pack(">I4s", len(described) + 8, b"sgpd") + described \
            + struct.pack(">I4s", len(groups) + 8, b"sbgp") + groups

    def unfolded(data):
        """stss holds the boxes after it until it gets its size back: 8 bytes, then 12."""
        at = data.index(b"stss") - 4
        return data[:at] + struct.pack(">I", 20) + data[at + 4:]

    path = tmp_path / "film.mov"
    path.write_bytes(head + unfolded(moov(change)))
    assert check(path).samples == films.dump(made("hevc_mov")).samples


def test_a_real_film():
    """FOLDFS_SHARED_FILM: any MP4 or MOV of one's own."""
    path = os.environ.get("FOLDFS_SHARED_FILM")
    if not path:
        pytest.skip("FOLDFS_SHARED_FILM names no film")
    check(path)
