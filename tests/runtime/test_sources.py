import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxface.errors import SourceError
from fauxface.sources import (
    Kind,
    PictureSource,
    Source,
    camera_index,
    camera_size,
    fixed_folder,
    parse,
)

TEXTS = [
    ("-", Kind.STDIN),
    ("camera:0", Kind.CAMERA),
    ("Camera:12", Kind.CAMERA),
    ("camera:0@1920x1080", Kind.CAMERA),
    ("rtsp://host/stream", Kind.URL),
    ("RTSP://user:pass@host:554/stream?x=*", Kind.URL),
    ("http://host/a.mp4", Kind.URL),
    ("https://host/a.jpg", Kind.URL),
    ("srt://host:9000", Kind.URL),
    ("videotestsrc ! videoconvert ! appsink", Kind.GSTREAMER),
    ("rtspsrc location=rtsp://host/a ! appsink", Kind.GSTREAMER),
    ("nowhere/*.jpg", Kind.GLOB),
    ("nowhere/**/?.png", Kind.GLOB),
    ("a[0-9].png", Kind.GLOB),
    ("photos", Kind.FOLDER),
    ("photos/", Kind.FOLDER),
    (".", Kind.FOLDER),
    ("photos/a.png", Kind.IMAGE),
    ("./photos/b.JPG", Kind.IMAGE),
    ("photos/two words/f.jpeg", Kind.IMAGE),
    ("photos/.hidden.jpg", Kind.IMAGE),
    ("photos/notes.txt", Kind.IMAGE),
    ("photos/clip.MP4", Kind.VIDEO),
]


@pytest.mark.parametrize(("text", "kind"), TEXTS)
def test_text_is_told_apart(tree, text, kind):
    assert parse(text) == Source(kind, text)


REFUSED = [
    ("", "the source is empty"),
    ("  ", "the source is empty"),
    ("missing.jpg", "there is no such file or folder"),
    ("photos/missing.mp4", "there is no such file or folder"),
    ("camera:", "by its number"),
    ("camera:front", "by its number"),
    ("camera:-1", "by its number"),
    ("camera:0@", "by its number"),
    ("camera:0@1920", "by its number"),
    ("camera:0@1920x1080x3", "by its number"),
    ("/dev/video9876@640x480", "no such camera"),
    ("/dev/video9876", "no such camera"),
    ("ftp://host/a.jpg", "ftp URLs can't be read"),
    ("file:///tmp/a.jpg", "plain path"),
    ("rtsp://", "names no host"),
    ("a\0b", "zero byte"),
    ("x" * 5000, "there is no such file or folder"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[case[1] for case in REFUSED])
def test_text_that_names_nothing_is_refused(tree, text, message):
    with pytest.raises(SourceError, match=message) as caught:
        parse(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["rtps://me:secret@host/a", "file://me:secret@host/a", "no://me:secret@h"])
def test_passwords_are_not_shown_in_errors(text):
    with pytest.raises(SourceError, match=r"://me:\*\*\*@h") as caught:
        parse(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["camera:0", "a[1].jpg", "x ! y", "-.png", "*.jpg"])
def test_existing_path_wins(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"x")
    assert parse(name).kind is Kind.IMAGE
    assert PictureSource(parse(name)).paths == [Path(name)]


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x20ftypisom", Kind.VIDEO),
        (b"RIFF\0\0\0\0AVI LIST", Kind.VIDEO),
        (b"\x1a\x45\xdf\xa3", Kind.VIDEO),
        *((b"\0\0\0\x20ftyp" + brand, Kind.VIDEO) for brand in (b"mp42", b"M4V ", b"qt  ", b"avc1")),
        *((b"\0\0\0\x20ftyp" + brand, Kind.IMAGE) for brand in (b"heic", b"heix", b"hevc", b"mif1")),
        *((b"\0\0\0\x20ftyp" + brand, Kind.IMAGE) for brand in (b"msf1", b"avif", b"avis")),
        (b"RIFF\0\0\0\0WEBPVP8 ", Kind.IMAGE),
        (b"\xff\xd8\xff\xe0", Kind.IMAGE),
        (b"", Kind.IMAGE),
    ],
)
def test_file_without_a_known_suffix_is_told_by_its_content(tmp_path, head, kind):
    (tmp_path / "file").write_bytes(head)
    assert parse(str(tmp_path / "file")).kind is kind


@pytest.mark.parametrize(
    ("content", "listed"),
    [
        (b"export const a = 1;\n", False),
        ("// gr\u00fcn\n".encode() * 200, False),
        (b"G@\x00\x11" + b"\xff" * 184 + b"G", True),
        (b"\x00\x00\x00\x00G@\x00\x11", True),
        (b"", True),
    ],
)
@pytest.mark.parametrize("suffix", [".ts", ".MTS"])
def test_typescript_is_no_video(tmp_path, content, listed, suffix):
    (tmp_path / f"a{suffix}").write_bytes(content)
    (tmp_path / "b.mp4").write_bytes(b"x")
    listing = PictureSource(parse(str(tmp_path)))
    assert (tmp_path / f"a{suffix}" in listing.paths) is listed
    assert listing.skipped.total() == (not listed)


GLOBS = [
    ("photos/*.png", ["photos/a.png"], 0),
    ("photos/*", ["photos/a.png", "photos/b.JPG", "photos/clip.MP4", "photos/sub.bmp"], 2),
    ("photos/**/*.tiff", ["photos/sub/z/e.tiff"], 0),
    ("photos/[ab].*", ["photos/a.png", "photos/b.JPG"], 0),
    ("photos/two */*.jpeg", ["photos/two words/f.jpeg"], 0),
]


@pytest.mark.parametrize(("pattern", "paths", "skipped"), GLOBS)
def test_glob_is_listed_in_order(tree, pattern, paths, skipped):
    listing = PictureSource(parse(pattern))
    assert [path.as_posix() for path in listing] == paths
    assert listing.skipped.total() == skipped
    absolute = PictureSource(parse(str(tree / pattern)))
    assert absolute.paths == [tree / path for path in paths]


@pytest.mark.parametrize("name", ["photos/a.png", "photos/clip.MP4"])
def test_single_file_is_its_own_list(tree, name):
    listing = PictureSource(parse(name))
    assert listing.paths == [Path(name)]
    assert listing.is_video(Path(name)) == name.endswith("MP4")


def test_video_content_under_another_suffix_stays_a_video(tmp_path):
    path = tmp_path / "clip.dat"
    path.write_bytes(b"\0\0\0\x20ftypisom")
    assert PictureSource(parse(str(path))).is_video(path)


def test_nothing_to_scan_is_an_error(tree):
    (tree / "empty").mkdir()
    for text, message in (
        ("empty", "holds no picture or video"),
        ("nowhere/*.jpg", "no picture or video matches"),
        ("photos/*.txt", "no picture or video matches"),
        ("camera:0", "has no files"),
    ):
        with pytest.raises(SourceError, match=message):
            PictureSource(parse(text))


@pytest.mark.parametrize(
    ("text", "files", "live"),
    [
        ("photos", True, False),
        ("photos/a.png", True, False),
        ("photos/clip.MP4", True, False),
        ("photos/*", True, False),
        ("camera:0", False, True),
        ("rtsp://host/a", False, True),
        ("https://host/a.mp4", False, False),
        ("a ! b", False, False),
        ("-", False, False),
    ],
)
def test_properties(tree, text, files, live):
    source = parse("photos/*" if text == "photos/*" else text)
    assert (source.is_files, source.is_live) == (files, live)


def test_a_stable_name_of_a_camera_leads_to_its_number(monkeypatch):
    """Numbers change when the machine starts; names in /dev/v4l/by-id are links to them."""
    name = "/dev/v4l/by-id/usb-Maker_4K_1234-video-index0"
    monkeypatch.setattr(os.path, "realpath", lambda path: "/dev/video7" if path == name else path)
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == name)
    source = parse(name)
    assert (source.kind, source.shown, camera_index(source)) == (Kind.CAMERA, name, 7)


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [
        ("shots/**/*.jpg", "shots"),
        ("shots/2024/a*.jpg", "shots/2024"),
        ("*.jpg", "."),
        ("../x/[ab]/1.jpg", "../x"),
        ("/p/q?/r/1.jpg", "/p"),
    ],
)
def test_fixed_folder(pattern, folder):
    assert fixed_folder(pattern) == Path(folder)


@pytest.mark.parametrize(
    ("text", "index", "size"),
    [
        ("camera:0", 0, None),
        ("camera:12", 12, None),
        ("/dev/video3", 3, None),
        ("camera:1@1920x1080", 1, (1920, 1080)),
        ("/dev/video3@640x480", 3, (640, 480)),
    ],
)
def test_camera_index_and_size(text, index, size):
    source = Source(Kind.CAMERA, text)
    assert (camera_index(source), camera_size(source)) == (index, size)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://user:secret@host/a", "rtsp://user:***@host/a"),
        ("rtsp://user:p:w@host/a", "rtsp://user:***@host/a"),
        ("rtsp://me@corp.org:secret@host/a", "rtsp://me@corp.org:***@host/a"),
        ("rtsp://user:se@cr@et@host:554/a", "rtsp://user:***@host:554/a"),
        ("http://host/a?user=me&Password=secret&x=1", "http://host/a?user=me&Password=***&x=1"),
        ("http://host/a?token=secret", "http://host/a?token=***"),
        ("https://host/a?access_token=secret&auth-token=s", "https://host/a?access_token=***&auth-token=***"),
        ("srt://host:9000?mode=caller&passphrase=secret123", "srt://host:9000?mode=caller&passphrase=***"),
        ("http://host/a?client_secret=abc&tokens=3", "http://host/a?client_secret=***&tokens=3"),
        ('rtspsrc user-id=me user-pw="se cret" ! appsink', "rtspsrc user-id=me user-pw=*** ! appsink"),
        ("http://host/a?bypass=1&compass=2", "http://host/a?bypass=1&compass=2"),
        ("rtsp://host:554/a", "rtsp://host:554/a"),
        ("rtsp://[::1]:554/a@b", "rtsp://[::1]:554/a@b"),
        ("rtspsrc location=rtsp://u:secret@h/a ! appsink", "rtspsrc location=rtsp://u:***@h/a ! appsink"),
        ("rtsp://admin:pa/ss@10.0.0.1/s", "rtsp://admin:***@10.0.0.1/s"),
        ("rtsp://admin:pa ss@10.0.0.1:554/s", "rtsp://admin:***@10.0.0.1:554/s"),
        ("rtsp://host:554/a?to=b@c", "rtsp://host:554/a?to=b@c"),
        (
            "http://h/a?userpass=s&camerapassword=s&loginpas=s",
            "http://h/a?userpass=***&camerapassword=***&loginpas=***",
        ),
        ("rtspsrc user-pw='se cret' ! appsink", "rtspsrc user-pw=*** ! appsink"),
        (r'rtspsrc user-pw="se\"cret" ! appsink', "rtspsrc user-pw=*** ! appsink"),
        ("http://h/a?psw=s&authbasic=c2VjcmV0", "http://h/a?psw=***&authbasic=***"),
        (
            "rtsp://h/user=admin_password=se_cret_channel=2_stream=0.sdp",
            "rtsp://h/user=admin_password=***_channel=2_stream=0.sdp",
        ),
        ("photos/a@b:c.png", "photos/a@b:c.png"),
    ],
)
def test_passwords_are_not_shown(text, shown):
    assert Source(Kind.URL, text).shown == shown


def test_a_path_is_shown_as_it_is():
    assert Source(Kind.VIDEO, "token=1/a=b.mp4").shown == "token=1/a=b.mp4"


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_text_is_parsed_or_refused(text):
    try:
        source = parse(text)
    except SourceError as error:
        message = str(error)
    else:
        message = ""
        assert source.text == text
    assert message.isprintable()
