import io
import os
import resource
import struct
import subprocess
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common import media
from stages.common.errors import UserError
from stages.common.media import Clip, Video
from stages.corpus.contents import unusable
from tests import iemocap_release as release

ROOT = Path(__file__).parent.parent
RATE = 16_000
SAMPLES = 4799  # of noise: a prime number
MIB = 1 << 20
SEEDS = range(15)  # mutations of each kind of file
HEIGHT, WIDTH = 46, 62
SOUND = {  # suffix → (libsndfile's format, subtype, how far a sample may be off)
    "8.wav": ("WAV", "PCM_U8", 1 / 127),
    "16.wav": ("WAV", "PCM_16", 1 / 2**15),
    "24.wav": ("WAV", "PCM_24", 1 / 2**23),
    "32.wav": ("WAV", "PCM_32", 1e-7),
    "float.wav": ("WAV", "FLOAT", 0),
    "double.wav": ("WAV", "DOUBLE", 1e-7),
    "flac": ("FLAC", "PCM_16", 1 / 2**15),
}
WITH_SOUND = {  # name → video and audio codec; the sound's lag in seconds that its container cannot express
    "aac.mp4": ("mpeg4", "aac", 0),
    "aac.mov": ("mpeg4", "aac", 0),
    "aac.mkv": ("mpeg4", "aac", 0),
    "pcm.avi": ("mpeg4", "pcm_s16le", 0),
    "pcm.mkv": ("mpeg4", "pcm_s16le", 0),
    "aac.flv": ("flv", "aac", 1024 / RATE),
}
CODED = {"mjpg.avi": "MJPG", "xvid.avi": "XVID", "mp4v.mp4": "mp4v", "mp4v.mov": "mp4v", "xvid.mkv": "XVID"}
LISTS = {
    "m3u": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n",
    "passwd": "#EXTM3U\nfile:///etc/passwd\n",
    "ffconcat": "ffconcat version 1.0\nfile {target}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
}


def noise(count=SAMPLES, channels=1, seed=1):
    """[count, channels] in -.8 … .8"""
    return np.random.default_rng(seed).uniform(-0.8, 0.8, (count, channels))


def encoded(samples, kind="WAV", subtype=None, rate=RATE):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def wav_header(*, rate=RATE, channels=1, claimed=2000, samples=1000):
    data = noise(samples * channels) * 2**15
    body = struct.pack("<HHIIHH", 1, channels, rate, min(2 * channels * rate, 2**32 - 1), 2 * channels & 0xFFFF, 16)
    head = b"RIFF" + struct.pack("<I", min(36 + claimed, 2**32 - 1)) + b"WAVEfmt " + struct.pack("<I", len(body)) + body
    return head + b"data" + struct.pack("<I", claimed) + data.astype("<i2").tobytes()


def write(path, content):
    path.write_bytes(content)
    return path


def heard(path, *clips, rate=RATE):
    return list(media.sound(path, clips or [Clip()], rate))


def mux(path, channels, codecs=("mpeg4", "aac"), *, rate=RATE, late=0.0, frames=25):
    """A file of 25 pictures a second, none if `frames` is 0, and of sound, [samples, channels], that begins late."""
    av = pytest.importorskip("av")
    layout = {1: "mono", 2: "stereo"}[channels.shape[1]]
    with av.open(str(path), "w") as file:
        video = file.add_stream(codecs[0], rate=25) if frames else None
        audio = file.add_stream(codecs[1], rate=rate)
        audio.layout = layout
        if video:
            video.width, video.height = WIDTH, HEIGHT
            video.pix_fmt = "yuvj420p" if codecs[0] == "mjpeg" else "yuv420p"
        for number in range(frames):
            picture = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=video.pix_fmt)
            frame.pts = number
            file.mux(video.encode(frame))
        if frames:
            file.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels.T, np.float32), format="fltp", layout=layout)
        sound.sample_rate, sound.pts = rate, round(late * rate)
        size = audio.codec_context.frame_size or 0
        resampler = av.AudioResampler(format=audio.format, layout=layout, rate=rate, frame_size=size)
        for part in [*resampler.resample(sound), *resampler.resample(None)]:
            file.mux(audio.encode(part))
        file.mux(audio.encode(None))
    return path


def click(*, at, seconds, rate=RATE):
    samples = np.zeros((round(seconds * rate), 1))
    samples[round(at * rate) :][: round(0.005 * rate)] = 0.9
    return samples


def clicked(samples, rate=RATE):
    return np.flatnonzero(np.abs(samples) > 0.45)[0] / rate


def film(path, codec="MJPG", frames=61, rate=release.FRAMES_PER_SECOND):
    """Pictures that carry their number, `release.picture`."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, (release.WIDTH, release.HEIGHT))
    assert video.isOpened()
    for number in range(frames):
        video.write(release.picture(number))
    video.release()
    return path


def seen(path, numbers):
    with Video(path) as video:
        return list(video.frames(numbers))


def halves(frame):
    return [media.cropped(frame, crop) for crop in ("left", "right")]


@pytest.fixture(scope="module")
def mjpg(tmp_path_factory):
    """The bytes of an AVI of 61 pictures."""
    return film(tmp_path_factory.mktemp("film") / "mjpg.avi").read_bytes()


def with_field(content, chunk, offset, value, form="<I"):
    """An AVI's bytes with another number in its first chunk of a name."""
    changed = bytearray(content)
    struct.pack_into(form, changed, content.index(chunk) + 8 + offset, value)
    return bytes(changed)


def with_frames(content, frames):
    return with_field(with_field(content, b"avih", 16, frames), b"strh", 32, frames)


# Sound files


@pytest.mark.parametrize("name", SOUND)
def test_sound_is_what_was_written_and_the_mean_of_its_channels(tmp_path, name):
    kind, subtype, step = SOUND[name]
    for channels in (1, 2, 5):
        samples = noise(channels=channels)
        found = heard(write(tmp_path / name, encoded(samples, kind, subtype)))
        assert found[0].dtype == np.float32
        np.testing.assert_allclose(found[0], samples.mean(axis=1), atol=step + 1e-6)


@pytest.mark.parametrize("kind", ["MP3", "OGG"])
def test_lossy_sound_keeps_length_and_pitch(tmp_path, kind):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    (found,) = heard(write(tmp_path / "x", encoded(tone, kind)))
    assert len(found) == RATE
    assert np.abs(np.fft.rfft(found)).argmax() == 440
    assert abs(np.sqrt(2 * np.mean(found[1000:-1000] ** 2)) - 0.5) < 0.03


def test_a_part_of_an_mp3_is_what_the_whole_has_there(tmp_path, monkeypatch):
    rng, lengths = np.random.default_rng(5), (0.21, 0.35, 0.13, 0.28, 0.44)
    tones = [np.sin(2 * np.pi * rng.integers(300, 1100) * np.arange(int(RATE * own)) / RATE) for own in lengths]
    path = write(tmp_path / "x", encoded(0.5 * np.concatenate(tones)[:, None], "MP3"))
    (whole,) = heard(path)
    monkeypatch.setattr(media, "BLOCK", 3001)
    for start, end in [(0.0, 0.21), (0.21, 0.56), (0.56, 0.69), (0.97, 1.41), (0.0, 1.41)]:
        (part,) = heard(path, Clip(start, end))
        np.testing.assert_allclose(part, whole[round(start * RATE) : round(end * RATE)], atol=1e-5)


def test_parts_are_cut_to_the_nearest_sample(tmp_path):
    samples = noise()
    path = write(tmp_path / "x.wav", encoded(samples, subtype="FLOAT"))
    spans = [(None, None), (0.1, None), (None, 0.1), (0.05, 0.25), (0.00004, 0.0001), (0.2, 99.0), (9.0, None), (9, 10)]
    spans += [(0.2, 0.2), (0.25, 1e300), (1e300, None)]
    found = heard(path, *[Clip(*span) for span in spans])
    whole = samples[:, 0].astype(np.float32)
    expected = [whole, whole[1600:], whole[:1600], whole[800:4000], whole[1:2], whole[3200:]]
    for own, right in zip(found, [*expected, whole[:0], whole[:0], whole[:0], whole[4000:], whole[:0]], strict=True):
        np.testing.assert_array_equal(own, right)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 0.4), st.floats(0, 0.4)), min_size=1, max_size=5))
def test_a_part_does_not_depend_on_the_others(tmp_path_factory, spans):
    path = tmp_path_factory.getbasetemp() / "parts.wav"
    if not path.exists():
        write(path, encoded(noise(), rate=11_025))
    clips = [Clip(*sorted(span)) for span in spans]
    for clip, together in zip(clips, heard(path, *clips), strict=True):
        np.testing.assert_array_equal(together, heard(path, clip)[0])


@pytest.mark.parametrize("own", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_keeps_frequency_level_and_length(tmp_path, own):
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(own) / own)
    path = write(tmp_path / "x.wav", encoded(tone, subtype="FLOAT", rate=own))
    whole, part = heard(path, Clip(), Clip(0.25, 0.75))
    assert abs(len(whole) - RATE) <= 1
    assert abs(len(part) - RATE / 2) <= 1
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(len(whole)) / RATE)
    np.testing.assert_allclose(whole[800:-800], expected[800:-800], atol=2e-3)  # in step, too


def test_what_is_above_half_the_rate_is_filtered_out(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 15_000 * np.arange(48_000) / 48_000)
    assert np.abs(heard(write(tmp_path / "x.wav", encoded(tone, rate=48_000)))[0][800:-800]).max() < 1e-3


def test_nothing_of_sound_resampled_is_nothing(tmp_path):
    path = write(tmp_path / "x.wav", encoded(noise(), rate=48_000))
    assert len(heard(path, Clip(5, 6))[0]) == 0


@pytest.mark.parametrize("claimed", [4000, 2 * 3600 * 2 * RATE, 2**31 + 1, 2**32 - 1])
def test_a_wav_that_claims_more_than_it_has_gives_what_is_there(tmp_path, claimed):
    path = write(tmp_path / "x.wav", wav_header(claimed=claimed))
    tracemalloc.start()
    try:
        assert len(heard(path)[0]) == 1000
        assert media.sound_seconds(path) == 1000 / RATE
        assert tracemalloc.get_traced_memory()[1] < 20 * MIB
    finally:
        tracemalloc.stop()


def test_a_channel_count_at_libsndfiles_limit_takes_little_memory(tmp_path):
    path = write(tmp_path / "x.wav", wav_header(channels=1024, claimed=2048 * 9001, samples=9001))
    tracemalloc.start()
    try:
        assert len(heard(path)[0]) == 9001
        assert tracemalloc.get_traced_memory()[1] < 10 * MIB  # all channels at once would be 35
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("rate", [0, 1, 999, 1_000_001, 2**31 - 1, 4_000_000_000])
def test_absurd_rates_are_refused(tmp_path, rate):
    refused_as_sound(write(tmp_path / "x.wav", wav_header(rate=rate)))


@pytest.mark.parametrize("channels", [0, 1025, 65_535])
def test_absurd_channel_counts_are_refused(tmp_path, channels):
    refused_as_sound(write(tmp_path / "x.wav", wav_header(channels=channels, samples=10)))


def refused_as_sound(path, match=r"(must|cannot) "):
    for read in (heard, media.sound_seconds):
        with pytest.raises(UserError, match=match) as error:
            read(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["x.wav", "x.mp3", "x.raw", "x"])
def test_what_is_no_sound_is_refused(tmp_path, name):
    contents = [b"", b"\0" * 999, b"Hello there.\n" * 99, np.random.default_rng(3).bytes(5000), b"RIFF\0\0\0\0WAVE"]
    for content in contents:
        refused_as_sound(write(tmp_path / name, content))


def test_a_missing_file_is_refused(tmp_path):
    refused_as_sound(tmp_path / "x.wav", "No such file")
    with pytest.raises(UserError, match="No such file"):
        Video(tmp_path / "x.avi")


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "OGG"])
def test_a_header_that_breaks_off_is_refused_or_read(tmp_path, kind):
    content = encoded(noise(), kind)
    for length in range(0, 400, 10):
        path = write(tmp_path / "x", content[:length])
        try:
            assert len(heard(path)[0]) < SAMPLES
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017
    refused_as_sound(write(path, content[:20]))


def test_sound_that_does_not_say_how_long_it_is_is_refused(tmp_path):
    flac = bytearray(encoded(noise(), "FLAC"))
    flac[21] &= 0xF0  # 36 bits of STREAMINFO: total samples, 0 for unknown
    flac[22:26] = bytes(4)
    ogg = encoded(noise(3 * RATE), "OGG")
    refused_as_sound(write(tmp_path / "x.flac", bytes(flac)), "say how much")
    refused_as_sound(write(tmp_path / "x.ogg", ogg[: len(ogg) // 3]), "say how much")
    refused_as_sound(write(tmp_path / "x.wav", wav_header(claimed=0)), "say how much")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_samples_that_are_not_finite_are_refused(tmp_path, value):
    samples = noise()
    samples[4000] = value
    path = write(tmp_path / "x.wav", encoded(samples, subtype="DOUBLE"))
    assert len(heard(path, Clip(0, 0.25))[0]) == 4000
    with pytest.raises(UserError, match=r"x\.wav: samples must be finite"):
        heard(path, Clip(0.25, None))


def test_more_than_the_most_seconds_are_refused_but_parts_beyond_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "MOST_SECONDS", 2)
    sounds = noise(3 * RATE)
    paths = [write(tmp_path / "x.wav", encoded(sounds)), mux(tmp_path / "x.avi", sounds, ("mpeg4", "pcm_s16le"))]
    for path in paths:
        beyond, most = heard(path, Clip(2.25, 2.75), Clip(1.0, 3.0))
        assert (len(beyond), len(most)) == (RATE / 2, 2 * RATE)
        np.testing.assert_allclose(beyond, sounds[36_000:44_000, 0], atol=1e-4)
        for clip in (Clip(), Clip(0.5, None), Clip(0.5, 2.6)):
            with pytest.raises(UserError, match=f"{path.name}: an utterance must have at most 2 s"):
                heard(path, clip)


def test_the_end_of_a_long_file_is_read_without_the_rest(tmp_path):
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for _ in range(10):
            file.write(np.zeros(60 * RATE))
    tracemalloc.start()
    try:
        assert len(heard(path, Clip(599, None))[0]) == RATE
        assert tracemalloc.get_traced_memory()[1] < MIB  # all of it is 38 MB in float32
    finally:
        tracemalloc.stop()


def test_sound_seconds(tmp_path):
    assert media.sound_seconds(write(tmp_path / "x.wav", encoded(noise()))) == SAMPLES / RATE
    assert media.sound_seconds(write(tmp_path / "x.mp3", encoded(noise(), "MP3", rate=44_100))) == SAMPLES / 44_100
    for name, codecs in {"x.mp4": ("mpeg4", "aac"), "x.mkv": ("mpeg4", "aac"), "x.avi": ("mpeg4", "mp3")}.items():
        assert abs(media.sound_seconds(mux(tmp_path / name, noise(RATE), codecs)) - 1) < 0.15


# Sound of video files


@pytest.mark.parametrize("name", WITH_SOUND)
def test_sound_of_video_is_in_time(tmp_path, name):
    *codecs, lag = WITH_SOUND[name]
    for rate in (RATE, 44_100):
        path = mux(tmp_path / name, click(at=1.0, seconds=1.5, rate=rate), codecs, rate=rate)
        whole, part, beyond = heard(path, Clip(), Clip(0.9, 1.3), Clip(9, None))
        assert abs(clicked(whole) - 1.0) < 0.025 + lag
        assert abs(clicked(part) - 0.1) < 0.025 + lag
        assert abs(len(whole) / RATE - 1.5) < 0.07 + lag  # codecs fill up their last frame
        assert len(part) == round(0.4 * RATE)
        assert len(beyond) == 0


def test_sound_of_video_is_exact_where_its_codec_is(tmp_path):
    sounds = noise(30_011, channels=2)
    for name in ("x.avi", "x.mov", "x.mkv"):
        path = mux(tmp_path / name, sounds, ("mpeg4", "pcm_s16le"))
        parts = heard(path, Clip(), Clip(0.5, 1.25), Clip(1.5, 99.0), Clip(0.0, 0.1))
        whole = sounds.mean(axis=1)  # nothing else: FFmpeg's own mono would be 3 dB louder
        for own, right in zip(parts, [whole, whole[8000:20_000], whole[24_000:], whole[:1600]], strict=True):
            np.testing.assert_allclose(own, right, atol=1e-4)


def test_a_part_of_video_does_not_depend_on_the_others(tmp_path):
    path = mux(tmp_path / "x.mp4", noise(60_013), rate=22_050)
    clips = [Clip(1.5, 2.25), Clip(), Clip(0.125, 0.5), Clip(2.0, None), Clip(0.25, 0.3)]
    for clip, together in zip(clips, heard(path, *clips), strict=True):
        np.testing.assert_array_equal(together, heard(path, clip)[0])


@pytest.mark.parametrize(("name", "codec"), [("x.mp4", "aac"), ("x.mkv", "pcm_s16le"), ("x.mov", "pcm_s16le")])
def test_sound_that_begins_late_has_silence_before_it(tmp_path, name, codec):
    path = mux(tmp_path / name, click(at=0.5, seconds=1.0), ("mpeg4", codec), late=0.75, frames=45)
    whole, part = heard(path, Clip(), Clip(0.5, 1.5))
    assert abs(clicked(whole) - 1.25) < 0.025
    assert abs(clicked(part) - 0.75) < 0.025
    assert len(part) == RATE
    assert not whole[:11_000].any()


def test_a_file_of_sound_alone_begins_with_its_sound(tmp_path):
    path = mux(tmp_path / "x.mka", click(at=0.5, seconds=1.0), late=0.75, frames=0)
    assert abs(clicked(heard(path)[0]) - 0.5) < 0.025


def test_sound_that_begins_beyond_the_most_seconds_is_refused(tmp_path, monkeypatch):
    path = mux(tmp_path / "x.mkv", noise(), ("mpeg4", "pcm_s16le"), late=3)
    monkeypatch.setattr(media, "MOST_SECONDS", 2)
    with pytest.raises(UserError, match=r"x\.mkv: sound must begin within 2 s, but begins after 3 s"):
        heard(path)


def test_video_without_sound_is_refused_as_sound(tmp_path):
    pytest.importorskip("av")
    refused_as_sound(film(tmp_path / "x.avi", frames=3), "must have sound, but has none")


def test_video_without_pyav_says_what_installs_it(tmp_path, mjpg, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    refused_as_sound(write(tmp_path / "x.avi", mjpg), r"needs PyAV: `make av`")


# Pictures


@pytest.mark.parametrize("name", CODED)
def test_each_number_gives_its_frame(tmp_path, name):
    path = film(tmp_path / name, CODED[name])
    numbers = [0, 1, 7, 29, 31, 58, 60, 61, 75]
    found = seen(path, numbers)
    assert [number for number, _ in found] == numbers[:-2]
    for number, frame in found:
        assert frame.shape == (release.HEIGHT, release.WIDTH, 3)
        assert [release.decode(half) for half in halves(frame)] == [number, number]
        assert [release.side(half) for half in halves(frame)] == ["left", "right"]  # red is the left one's, so RGB


def test_frames_of_flash_video(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "x.flv"
    with av.open(str(path), "w") as file:
        video = file.add_stream("flv", rate=25)
        video.width, video.height, video.bit_rate = release.WIDTH, release.HEIGHT, 4_000_000
        for number in range(31):
            frame = av.VideoFrame.from_ndarray(release.picture(number), format="bgr24").reformat(format="yuv420p")
            frame.pts = number
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    found = seen(path, [0, 13, 30, 31])
    assert [(number, release.decode(halves(frame)[0])) for number, frame in found] == [(0, 0), (13, 13), (30, 30)]


def test_decoding_is_repeatable_in_one_thread(tmp_path):
    path = film(tmp_path / "x.avi", "XVID")
    first, second = ([frame for _, frame in seen(path, range(0, 61, 7))] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    with Video(path) as video:
        assert video._capture.get(cv2.CAP_PROP_N_THREADS) == 1


def test_a_video_that_breaks_off_is_refused(tmp_path, mjpg):
    path = write(tmp_path / "x.avi", mjpg[: len(mjpg) // 3])
    assert [number for number, _ in seen(path, [0, 13])] == [0, 13]
    with pytest.raises(UserError, match=r"x\.avi: must have the 61 frames .* breaks off after (19|20|21)$"):
        seen(path, [0, 13, 47])


def test_a_frame_count_may_be_wrong_by_a_second(tmp_path, mjpg):
    for claimed in (61, 75, 90):
        assert len(seen(write(tmp_path / "x.avi", with_frames(mjpg, claimed)), [0, 60, 61, 80])) == 2
    for claimed in (92, 2**31 - 1):
        with pytest.raises(UserError, match=rf"must have the {claimed} frames .* breaks off after 61"):
            seen(write(tmp_path / "x.avi", with_frames(mjpg, claimed)), [0, 60, 61, 80])


def test_what_is_no_video_is_refused(tmp_path, mjpg, capfd):
    pytest.importorskip("av")
    cv2.VideoCapture()  # what it says on loading is not of a file
    capfd.readouterr()
    contents = [b"", b"RIFF", np.random.default_rng(5).bytes(5000), b"Hello there.\n" * 99, encoded(noise())]
    contents += [mjpg[:length] for length in range(0, 300, 10)]
    contents += [
        head + bytes(range(256)) * 9 for head in (b"RIFF\xff\xff\0\0AVI LIST", b"\0\0\0\x18ftypmp42", b"FLV\1")
    ]
    for content in contents:
        path = write(tmp_path / "x.avi", content)
        with pytest.raises(UserError, match=r"x\.avi: must (be|have)"):
            seen(path, [0])
    for content in contents[1 + contents.index(encoded(noise())) :]:
        with pytest.raises(UserError, match=r"x\.avi: "):
            heard(write(tmp_path / "x.avi", content))
    assert capfd.readouterr() == ("", "")


def test_stderr_is_silent_about_broken_frames(tmp_path, mjpg, capfd):
    rng, content = np.random.default_rng(7), bytearray(mjpg)
    for place in rng.integers(len(mjpg) // 10, len(mjpg), 200):
        content[place] ^= 0x55
    with pytest.raises(UserError):
        seen(write(tmp_path / "x.avi", bytes(content[: len(content) // 2])), range(61))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_lists_of_other_files_are_refused(tmp_path, mjpg, name, suffix, monkeypatch):
    target = write(tmp_path / "target.avi", mjpg)
    path = write(tmp_path / f"x{suffix}", LISTS[name].format(target=target.name).encode())
    with pytest.raises(UserError, match="must be an MP4, MOV, AVI, Matroska or FLV file"):
        Video(path)
    refused_as_sound(path)
    monkeypatch.setattr(media, "container", lambda _: "mov")  # FFmpeg itself would not follow it either
    with pytest.raises(UserError, match="cannot be read"):
        Video(path)
    pytest.importorskip("av")
    refused_as_sound(path)


def test_an_mp4_whose_frames_lie_in_another_file_is_refused(tmp_path):
    """ISO 14496-12, 8.7.2: `dref` may name a file by a `url ` box that lacks the flag for "in this file"."""
    content = film(tmp_path / "target.mp4", "mp4v").read_bytes()
    own = struct.pack(">I4sI", 12, b"url ", 1)
    location = f"file://{tmp_path / 'target.mp4'}\0".encode()
    other = struct.pack(">I4sI", 12 + len(location), b"url ", 0) + location
    assert content.count(own) == 1
    at = content.index(own)
    grown = bytearray(content.replace(own, other))
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        place = content.rindex(box, 0, at) - 4
        struct.pack_into(">I", grown, place, struct.unpack_from(">I", content, place)[0] + len(other) - len(own))
    start = content.index(b"mdat") + 4
    for place in range(start, content.index(b"moov") - 4):
        grown[place] = 0  # what is decoded can be the other file's alone
    path = write(tmp_path / "x.mp4", bytes(grown))
    try:
        frames = seen(path, [0, 30])
    except UserError:
        return
    assert not any(frame.any() for _, frame in frames)


def test_absurd_sizes_and_rates_are_refused_in_little_memory(tmp_path, mjpg):
    huge = with_field(with_field(mjpg, b"strf", 4, 60_000), b"strf", 8, 60_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = write(tmp_path / "huge.avi", huge)
    try:
        found = seen(path, [0])  # the pictures' own size may count
        assert found[0][1].shape == (release.HEIGHT, release.WIDTH, 3)
    except UserError as error:
        assert "huge.avi" in str(error)  # noqa: PT017
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10
    fast = with_field(with_field(mjpg, b"strh", 20, 1), b"strh", 24, 4_000_000)
    with pytest.raises(UserError, match=r"fast\.avi: must have 0 … 1000 frames a second"):
        Video(write(tmp_path / "fast.avi", fast))


def test_no_claimed_rate_is_no_error_beyond_a_user_error(tmp_path, mjpg):
    still = with_field(with_field(mjpg, b"strh", 24, 0), b"avih", 0, 0)
    try:
        with Video(write(tmp_path / "x.avi", still)) as video:
            assert 0 < video.info.rate <= 1000  # FFmpeg has a default
    except UserError as error:
        assert "x.avi" in str(error)  # noqa: PT017


def test_pictures_that_are_large_beyond_measure_are_refused(tmp_path, mjpg, monkeypatch):
    monkeypatch.setattr(media, "MOST_PIXELS", release.WIDTH * release.HEIGHT - 1)
    with pytest.raises(UserError, match=r"of at most 345599 pixels, but has 29\.97 of 720 × 480"):
        Video(write(tmp_path / "x.avi", mjpg))


def test_sound_alone_is_no_video(tmp_path):
    path = mux(tmp_path / "x.mp4", noise(), frames=0)
    assert heard(path)
    with pytest.raises(UserError, match=r"x\.mp4: must be video"):
        Video(path)


def test_frames_of_another_size_are_no_crash(tmp_path):
    """A picture of Motion JPEG says its own size."""
    content = film(tmp_path / "x.avi", frames=9).read_bytes()
    place = content.index(b"00dc") + 4
    for _ in range(5):
        place = content.index(b"00dc", place) + 4
    (length,) = struct.unpack_from("<I", content, place)
    small = cv2.imencode(".jpg", np.full((48, 72, 3), 99, np.uint8))[1].tobytes()
    changed = content[: place + 4] + small.ljust(length, b"\0") + content[place + 4 + length :]
    path = write(tmp_path / "x.avi", changed)
    assert len(seen(path, [0, 4, 8])) == 3
    try:
        assert len({frame.shape for _, frame in seen(path, range(9))}) == 1
    except UserError as error:
        assert "frame 5 must have 720 × 480 pixels as those before, but has 72 × 48" in str(error)  # noqa: PT017


@pytest.mark.parametrize("name", ["Who: me?.avi", "a%03d.avi", "-x.avi", "concat:a|b.avi", "文 字.avi", "http:x.avi"])
def test_odd_names_are_names(tmp_path, mjpg, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(seen(write(Path(name), mjpg), [0, 3])) == 2
    pytest.importorskip("av")
    assert len(heard(mux(Path("x.avi"), noise(), ("mpeg4", "pcm_s16le")).rename(name))[0]) == SAMPLES


@pytest.mark.skipif(sys.platform != "linux", reason="names elsewhere are UTF-8")
def test_a_name_that_is_not_utf_8_is_refused(tmp_path, mjpg):
    path = write(tmp_path / os.fsdecode(b"caf\xe9.avi"), mjpg)
    with pytest.raises(UserError, match="name must be UTF-8"):
        Video(path)
    pytest.importorskip("av")
    refused_as_sound(path)


# Numbers of frames


@pytest.mark.parametrize(
    ("span", "per_second", "longest", "expected"),
    [
        ((1.0, 2.0), 3.0, None, [30, 40, 50]),
        ((1.0, 2.01), 3.0, None, [30, 40, 50, 60]),
        ((1.0, 2.0), 3.0, 2, [30, 40]),
        ((None, 0.5), 4.0, None, [0, 7]),  # .25 s · 30 = 7.5
        ((9.0, 99.0), 2.0, None, [270, 285]),  # the file ends at 10
        ((9.5, None), 4.0, None, [285, 292]),
        ((2.0, 2.1), 3.0, None, [60]),  # shorter than a step
        ((2.0, 2.0), 3.0, None, []),
        ((10.0, 11.0), 3.0, None, []),
        ((11.0, None), 3.0, None, []),
        ((0.3, 0.6), 10.0, None, [9, 12, 15]),  # .6 − .3 < .3 in floating point
        ((0.1, 0.4), 10.0, None, [3, 6, 9]),  # .4 − .1 > .3
        ((0.0, 0.7), 10.0, None, [0, 3, 6, 9, 12, 15, 18]),
    ],
)
def test_frame_numbers_by_hand(span, per_second, longest, expected):
    assert media.frame_numbers(Clip(*span), 10.0, 30.0, per_second, longest) == expected


def test_frame_numbers_of_steps_that_have_no_binary_fraction():
    for first in range(50):
        for steps in range(1, 30):
            found = media.frame_numbers(Clip(first / 10, (first + steps) / 10), 100.0, 30.0, 10.0, None)
            assert found == list(range(3 * first, 3 * (first + steps), 3))


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 50), st.floats(0, 20), st.floats(1, 60), st.floats(0.1, 30), st.none() | st.integers(1, 40))
def test_frame_numbers_ascend_within_the_part(start, length, rate, per_second, longest):
    end = start + length
    found = media.frame_numbers(Clip(start, end), 60.0, rate, per_second, longest)
    assert all(first <= second for first, second in pairwise(found))
    assert all(start - 1 / rate - 1e-6 <= number / rate < min(end, 60) + 1e-6 for number in found)
    assert longest is None or len(found) <= longest
    assert bool(found) == (min(end, 60) - start > 1e-6 / per_second)


def test_frame_numbers_of_a_length_that_cannot_be():
    for longest in (None, 10**9):
        found = media.frame_numbers(Clip(5.0, None), 2.0**31, 25.0, 2.0, longest)
        assert len(found) == 2 * media.MOST_SECONDS
    assert media.frame_numbers(Clip(7200.0, 7201.0), 8000.0, 25.0, 2.0, None) == [180_000, 180_012]


@pytest.mark.parametrize("width", [1, 2, 7, 720])
def test_halves_are_equally_wide_and_at_the_edges(width):
    frame = np.arange(3 * width * 3).reshape(3, width, 3)
    left, right = halves(frame)
    assert left.shape == right.shape == (3, width // 2, 3)
    np.testing.assert_array_equal(left, frame[:, : width // 2])
    np.testing.assert_array_equal(right, frame[:, (width + 1) // 2 :])
    assert media.cropped(frame, "") is frame


# What is no file at all


def test_unusable(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "to_fifo").symlink_to(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    write(tmp_path / "empty.wav", b"")
    write(tmp_path / "pointer.wav", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    write(tmp_path / "sound.wav", encoded(noise()))
    (tmp_path / "link.wav").symlink_to(tmp_path / "sound.wav")
    said = {
        "fifo": "is no file, but a folder or a device",
        "to_fifo": "is no file, but a folder or a device",
        "/dev/zero": "is no file, but a folder or a device",
        ".": "is no file, but a folder or a device",
        "dangling": "is missing",
        "nothing.wav": "is missing",
        "empty.wav": "is empty",
    }
    assert {name: unusable(tmp_path / name) for name in said} == said
    assert "git lfs pull" in unusable(tmp_path / "pointer.wav")
    for name in ("loop", "sound.wav/x", "x" * 300):
        assert unusable(tmp_path / name).startswith("cannot be read (")
    assert [unusable(tmp_path / name) for name in ("sound.wav", "link.wav")] == [None, None]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read_is_unusable(tmp_path):
    path = write(tmp_path / "x.wav", encoded(noise()))
    path.chmod(0)
    assert unusable(path) == "cannot be read (Permission denied)"


# Damage


def damaged(content, rng):
    """Bits flipped, a cut, bytes inserted or a number made extreme, in most cases in the first 600 bytes."""
    changed, reach = bytearray(content), 600 if rng.random() < 0.6 else len(content)
    place = int(rng.integers(min(reach, len(content))))
    kind = rng.integers(4)
    if kind == 0:
        for where in rng.integers(min(reach, len(content)), size=int(rng.integers(1, 20))):
            changed[where] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del changed[place:]
    elif kind == 2:
        changed[place:place] = rng.bytes(int(rng.integers(1, 64)))
    else:
        changed[place : place + 4] = rng.choice(
            [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"]
        )
    return bytes(changed)


def read_all(path):
    """What becomes of all that can be asked of a file."""
    questions = [lambda: heard(path, Clip(), Clip(0.1, 0.2)), lambda: media.sound_seconds(path)]
    if path.suffix not in (".wav", ".flac", ".mp3", ".ogg"):
        questions.append(lambda: seen(path, [0, 3, 8, 50]))
    outcomes = []
    for question in questions:
        try:
            question()
            outcomes.append("answered")
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017
            outcomes.append("refused")
    return outcomes


@pytest.mark.parametrize(
    "name", ["x.wav", "x.flac", "x.mp3", "x.ogg", "a.mp4", "h.mp4", "a.avi", "m.avi", "a.mkv", "a.flv"]
)
def test_damage_is_refused_or_read(tmp_path, name):
    path = tmp_path / name
    codecs = {
        "a.mp4": ("mpeg4", "aac"),
        "h.mp4": ("mpeg4", "mp3"),
        "a.avi": ("mpeg4", "pcm_s16le"),
        "m.avi": ("mjpeg", "mp3"),
        "a.mkv": ("mpeg4", "aac"),
        "a.flv": ("flv", "aac"),
    }
    if name in codecs:
        content = mux(path, noise(8000), codecs[name], frames=12).read_bytes()
    else:
        content = encoded(noise(8000), path.suffix[1:].upper())
    for seed in SEEDS:
        read_all(write(path, damaged(content, np.random.default_rng([seed, *name.encode()]))))
    write(path, content[:30])
    assert set(read_all(path)) == {"refused"}


def test_importing_media_loads_no_library_of_it():
    code = (
        "import sys, stages.common.media; print([name for name in ('av', 'cv2', 'soundfile') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
