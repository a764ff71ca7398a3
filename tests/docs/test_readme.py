"""What README and docs say is what the code does."""

import importlib.util
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = sorted((Path(__file__).parent / "snippets").glob("*.py"))
MARKDOWN = sorted(
    p for p in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "train").rglob("*.md")]
)


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda p: p.name)
def test_snippet_stands_in_a_page_as_it_is(snippet):
    pages = (README, (ROOT / "docs" / "scan.md").read_text(encoding="utf-8"))
    (found,) = re.findall(rf"<!-- snippet: {snippet.name} -->\n```python\n(.*?)```", "".join(pages), re.S)
    assert found == snippet.read_text(encoding="utf-8")


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda p: p.name)
def test_snippet_runs(snippet, tmp_path):
    from fauxface.demo import make_clip

    face = next((ROOT / "runtime" / "fauxface" / "demo_media").glob("own_generator_*.png"))
    for name in ("photo.jpg", "portrait.jpg", "a.jpg", "b.jpg"):
        shutil.copyfile(face, tmp_path / name)
    make_clip([face], tmp_path / "clip.mp4")
    done = subprocess.run(
        [sys.executable, snippet],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"bona_fide|generated|unsure", done.stdout), done.stdout
    if snippet.name == "arrays.py":
        assert re.search(r"^\['\w+'\]$", done.stdout, re.M), done.stdout
    if snippet.name == "scan.py":
        assert "0 ['" in done.stdout
        assert re.search(r"^(bona_fide|generated|unsure) [01]\.\d+ \(", done.stdout, re.M), done.stdout


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings get."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)", page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        found = page.parent / target if target else page
        assert found.exists(), f"{page.name} links to {link}"
        assert not anchor or found.suffix != ".md" or anchor in anchors(found), f"{page.name} links to {link}"


@pytest.mark.parametrize("name", ["scan", "bench"])
def test_the_synopsis_has_the_commands_options(name):
    synopsis = (ROOT / f"docs/{name}.md").read_text(encoding="utf-8").split("\n## ")[0]
    section = (ROOT / "docs/cli.md").read_text(encoding="utf-8").split(f"## `fauxface {name} ")[1]
    shown = set(re.findall(r"\[(--[a-z-]+)", synopsis))
    assert len(shown) > 5
    assert shown <= set(re.findall(r"`(--[a-z-]+)`", section.split("\n## ")[0]))


def test_the_scanner_takes_what_its_page_says():
    from fauxface import Scanner

    found = re.search(r"`Scanner\((.*?)\)` takes", (ROOT / "docs/scan.md").read_text(encoding="utf-8"))
    assert found
    parameters = inspect.signature(Scanner).parameters
    said = dict(part.partition("=")[::2] for part in found[1].split(", ") if part != "*")
    assert said == {name: repr(p.default).replace("'", '"') for name, p in parameters.items()}


def test_figures_are_those_of_the_shipped_bundle():
    document = json.loads((ROOT / "runtime/fauxface/default_bundle/bundle.json").read_text(encoding="utf-8"))
    tables = load(ROOT / "train" / "default_model" / "readme_figures.py")
    recorded = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in (tables.EVALUATION, tables.ABLATIONS, tables.ELSEWHERE, tables.RECENT)
    ]
    assert tables.fill(README, "metrics", tables.figures(document, *recorded)) == README


def test_the_example_of_an_audit_is_the_recorded_one():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    record = ROOT / "train" / "default_model" / "record"
    recorded = (record / "audit" / "audit.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in page.splitlines() if re.match(r"\| [A-Z][\w ]+ \| \d\.\d{3} \(", line)]
    assert len(rows) == 5
    assert set(rows) <= set(recorded)
    light = json.loads((record / "audit-light" / "audit.json").read_text(encoding="utf-8"))
    told = {group["title"]: group["stages"]["view"]["value"] for group in light["groups"]}
    shown = [told[name] for name in ("Sharpness", "Border content", "Mean colour and spread")]
    assert "sharpness has {:.3f}, border {:.3f} and colour {:.3f}".format(*shown) in page
    assert f"and {max(told.values(), key=lambda x: x or 0):.2f} after the later ones'" in README


def test_cli_reference_is_current():
    pytest.importorskip("fauxface_train")
    page = load(ROOT / "docs" / "generate_cli.py")
    assert page.reference() == page.TARGET.read_text(encoding="utf-8"), "run python docs/generate_cli.py"


def test_every_command_of_the_readme_exists():
    listed = set(
        re.findall(r"^## `fauxface ([a-z ]+?)(?: [A-Z\[]|`)", (ROOT / "docs/cli.md").read_text(), re.M)
    )
    used = re.findall(r"^fauxface (data \w+|locator \w+|generator \w+|\w+)", README, re.M)
    assert used
    assert set(used) <= listed
