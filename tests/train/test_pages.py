import re
import shutil
import subprocess
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

pages = pytest.importorskip("fauxface_train.pages")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VOID = {"meta", "img", "br", "link"}


def png(color=(10, 200, 30)):
    done, data = cv2.imencode(".png", np.full((60, 90, 3), color[::-1], np.uint8))
    assert done
    return data.tobytes()


BLOCKS = [
    pages.Heading("Evaluation <of> faces", 1),
    pages.Items(["Model: `best.safetensors` on cpu", "Data: a & b"]),
    pages.Heading("Overall"),
    pages.Table(
        ["Figure", "Value"], [["AUROC", "0.9876 (0.9801-0.9932)"], ["a|b", "<script>alert(1)</script>"]]
    ),
    pages.Heading("Plots"),
    pages.Text("Two of them."),
    pages.Picture("mistakes.png", "Worst mistakes"),
    pages.Picture("absent.png", "Not drawn"),
]


class Page(HTMLParser):
    """Checks that tags nest, and keeps what a test asks about."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def values(self, tag, name):
        return [value for t, n, value in self.attributes if (t, n) == (tag, name)]


@pytest.fixture(scope="module")
def text():
    return pages.html("Evaluation of <x>", BLOCKS, {"mistakes.png": png()})


def test_only_what_stands_between_the_named_marks_is_exchanged():
    page = "a\n<!-- one -->\nold\n<!-- /one -->\n<!-- two -->\n<!-- /two -->\n"
    filled = pages.fill(page, "one", r"new \1")
    assert filled == page.replace("old", r"new \1")


def test_markdown():
    assert pages.markdown(BLOCKS) == (
        "# Evaluation &lt;of> faces\n\n"
        "- Model: `best.safetensors` on cpu\n- Data: a & b\n\n"
        "## Overall\n\n"
        "| Figure | Value |\n| --- | --- |\n| AUROC | 0.9876 (0.9801-0.9932) |\n"
        "| a\\|b | &lt;script>alert(1)&lt;/script> |\n\n"
        "## Plots\n\nTwo of them.\n\n![Worst mistakes](mistakes.png)\n\n![Not drawn](absent.png)\n"
    )


def test_html_nests_and_escapes(text):
    page = Page(text)
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in "".join(page.text)
    assert page.tags.count("h1") == 1
    assert page.tags.count("tr") == 3
    assert page.values("th", "scope") == ["col", "col", "row", "row"]
    assert page.values("td", "class") == ["number"]
    assert "best.safetensors" in page.text


def test_html_needs_nothing_from_elsewhere(text):
    page = Page(text)
    sources = page.values("img", "src")
    assert len(sources) == 1
    assert sources[0].startswith("data:image/png;base64,")
    assert not {"link", "iframe", "object", "base"} & set(page.tags)
    assert "url(" not in text
    assert "//" not in re.sub(r'src="data:[^"]*"', "", text)
    assert all(alt for alt in page.values("img", "alt"))


def test_links_lead_to_headings(text):
    page = Page(text)
    headings = {value for t, n, value in page.attributes if n == "id" and t in ("h1", "h2", "h3")}
    assert [href[1:] in headings for href in page.values("a", "href")] == [True, True]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine to open the page in")
@pytest.mark.parametrize(("scheme", "ground"), [("light", 255), ("dark", 24)])
def test_a_browser_shows_it(scheme, ground, text, tmp_path):
    """The page's ground follows the colour scheme, and the picture is there in its own colour."""
    (tmp_path / "report.html").write_text(text)
    shot = tmp_path / "shot.png"
    dark = (
        ["--blink-settings=preferredColorScheme=0"]
        if scheme == "dark"
        else ["--blink-settings=preferredColorScheme=1"]
    )
    command = [
        *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
        *("--window-size=800,900", f"--user-data-dir={tmp_path / 'profile'}", *dark),
        *(f"--screenshot={shot}", (tmp_path / "report.html").as_uri()),
    ]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    seen = cv2.imread(str(shot))[..., ::-1].astype(int)
    assert abs(seen[-5, 5] - ground).max() < 12
    green = np.abs(seen - (10, 200, 30)).max(axis=2) < 12
    assert green.sum() > 0.9 * 60 * 90
    assert (np.abs(seen - seen[-5, 5]).max(axis=2) > 60).mean() > 0.01


@pytest.mark.parametrize(
    "page", ["no marker", "<!-- a -->\nx\n<!-- /b -->", 2 * "<!-- a -->\nx\n<!-- /a -->\n"]
)
def test_a_page_whose_block_is_not_there_once_is_an_error(page):
    with pytest.raises(ValueError, match=r"the page has [02] blocks 'a', not 1"):
        pages.fill(page, "a", "y")
    assert pages.fill("<!-- a -->\nx\n<!-- /a -->", "a", "y") == "<!-- a -->\ny\n<!-- /a -->"
