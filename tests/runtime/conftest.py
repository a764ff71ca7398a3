import sys
from pathlib import Path

import cv2
import pytest
import typer

from coloured_squares import Blobs
from fauxface import Bundle, Scanner, cli, cli_scan

TINY_BUNDLE = Path(__file__).parents[1] / "data/tiny_bundle"


class CountingClassifier:
    def __init__(self, inner):
        self.inner, self.batches, self.threads = inner, [], inner.threads

    def logits(self, crops):
        self.batches.append(len(crops))
        return self.inner.logits(crops)


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    """A folder of empty files of all sorts; the current folder is its parent."""
    monkeypatch.chdir(tmp_path)
    names = [
        "b.JPG",
        "a.png",
        "clip.MP4",
        "notes.txt",
        ".hidden.jpg",
        ".cache/c.jpg",
        "sub/d.webp",
        "sub/z/e.tiff",
    ]
    names += ["sub/readme.md", "sub.bmp", "two words/f.jpeg", "noext"]
    for name in names:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load(TINY_BUNDLE)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def scanner(bundle, request):
    made = Scanner(bundle, provider="cpu", threads=request.param, locator=Blobs())
    made._classifier = made._sharing = CountingClassifier(made._classifier)
    return made


def build_app():
    """The app with nothing but `scan`; an app of one command would take no command's name."""
    app = typer.Typer(pretty_exceptions_enable=False)
    cli_scan.register(app)
    app.command("other")(lambda: None)
    return app


@pytest.fixture
def _scan_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "build_app", build_app)
    threads = cv2.getNumThreads()
    yield
    cv2.setNumThreads(threads)


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `fauxface` in this process; return exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fauxface", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as leave:
            code = leave.code or 0
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run


@pytest.fixture
def scan(_scan_place, command):
    """Run `fauxface scan` as `command` does."""

    def run(*arguments, bundle=TINY_BUNDLE, threads=1):
        return command("scan", *arguments, "--bundle", bundle, "--provider", "cpu", "--threads", threads)

    return run
