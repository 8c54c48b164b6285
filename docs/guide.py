"""Build the guide, the site that the API serves at `/guide`: `python docs/guide.py`, which builds what has changed.

The pages stay as GitHub shows them. A copy of them is prepared here and built by Zensical: links to files outside of
`docs/` lead to pages with those files, diagrams are SVG files and formulas MathML. So a page needs no script but those
of the theme, and nothing from other servers. A link that leads nowhere fails the build.
"""

import hashlib
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from guide_pages import NAVIGATION, SITE_PAGES, TITLES, file_page, prepared

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "api" / "guide" / "site"
STAMP = "sources.txt"

FEATURES = ("content.code.copy", "navigation.sections", "navigation.top", "navigation.footer", "search.highlight")
PALETTE = (
    {"media": "(prefers-color-scheme)", "toggle": {"icon": "lucide/sun-moon", "name": "Use the light theme"}},
    {
        "media": "(prefers-color-scheme: light)",
        "scheme": "default",
        "toggle": {"icon": "lucide/sun", "name": "Use the dark theme"},
    },
    {
        "media": "(prefers-color-scheme: dark)",
        "scheme": "slate",
        "toggle": {"icon": "lucide/moon", "name": "Use the theme of the system"},
    },
)
STYLE = ".md-nav__link--active { color: var(--md-default-fg-color) !important; font-weight: 600 }\n"
"""The theme's own colour of the current page has too little contrast."""

SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
CANONICAL = re.compile(r'<link rel="canonical"[^>]*>')
"""It would name the host of the build."""

HREF = re.compile(r'<(?:a|link|img|script)\b[^>]*? (?:href|src)="?([^"\s>]+)')
ANCHOR = re.compile(r'\bid="?([^"\s>]+)')
FORMULA = re.compile(r"formula(\d{4})x")


def sources() -> str:
    """A hash of all that the guide is made from."""
    content = hashlib.sha256(version("zensical").encode())
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*")]):
        if path.is_file() and path.suffix != ".pyc":
            content.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return content.hexdigest()


def stage(directory: Path) -> list[str]:
    """Write the pages to a directory, as Zensical reads them. Returns the formulas of all pages, as MathML."""
    formulas: list[str] = []
    shutil.copytree(ROOT / "docs" / "images", directory / "images")
    queue, staged = [*SITE_PAGES, *pages_of_docs()], set[str]()
    while queue:
        path = queue.pop()
        if path in staged:
            continue
        staged.add(path)
        page = prepared(ROOT, path, formulas)
        queue += page.links
        target = directory / file_page(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page.text, "utf-8")
        for image in page.images:
            (directory / image).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / image, directory / image)
    return formulas


def pages_of_docs() -> list[str]:
    """The pages in `docs/`, as paths from the root of the repository."""
    return [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]


def navigation() -> list[dict[str, list[str | dict[str, str]]]]:
    """The navigation of the site. Pages without a place are in a section at its end."""
    places, listed = [], set[str]()
    for title, patterns in NAVIGATION.items():
        paths = [path.relative_to(ROOT).as_posix() for pattern in patterns for path in sorted(ROOT.glob(pattern))]
        entries = [{TITLES[path]: file_page(path)} if path in TITLES else file_page(path) for path in paths]
        places.append({title: entries})
        listed.update(paths)
    if others := [file_page(path) for path in pages_of_docs() if path not in listed]:
        places.append({"More": others})
    return places


def configuration() -> dict[str, object]:
    """The settings of Zensical."""
    slug = {"object": "pymdownx.slugs.slugify", "kwds": {"case": "lower"}}
    return {
        "site_name": "Safelight",
        "site_url": "http://localhost/guide/",
        "docs_dir": "pages",
        "site_dir": "site",
        "nav": navigation(),
        "theme": {
            "font": False,
            "features": list(FEATURES),
            "palette": list(PALETTE),
            "icon": {"logo": "lucide/aperture"},
            "favicon": "images/icon.svg",
        },
        "extra_css": ["guide.css"],
        "markdown_extensions": {
            "tables": {},
            "attr_list": {},
            "md_in_html": {},
            "toc": {"permalink": True, "slugify": slug},
            "pymdownx": {"superfences": {}, "highlight": {}, "magiclink": {}},
        },
    }


def finish(site: Path, formulas: list[str]) -> None:
    """Put the formulas into the pages, and their scripts into files: a page has none that a strict policy forbids."""
    for page in site.rglob("*.html"):
        depth = "../" * (len(page.relative_to(site).parts) - 1)
        base = "/guide/" if page.name == "404.html" else depth
        text = FORMULA.sub(lambda match: formulas[int(match[1])], page.read_text("utf-8"))
        text = CANONICAL.sub("", text)
        page.write_text(SCRIPT.sub(lambda match, base=base: _script(site, base, match[1]), text), "utf-8")
    (site / "sitemap.xml").unlink()  # names that host too
    search = site / "search.json"
    search.write_text(FORMULA.sub("…", search.read_text("utf-8")), "utf-8")


def _script(site: Path, base: str, code: str) -> str:
    """A reference to a script file with some code."""
    path = f"assets/javascripts/page-{hashlib.sha256(code.encode()).hexdigest()[:12]}.js"
    (site / path).write_text(code, "utf-8")
    return f'<script src="{base}{path}"></script>'


def dead_links(site: Path) -> Iterator[str]:
    """The links between pages that lead nowhere."""
    texts = {page.relative_to(site).as_posix(): page.read_text("utf-8") for page in site.rglob("*.html")}
    anchors = {path: set(ANCHOR.findall(text)) for path, text in texts.items()}
    for path, text in texts.items():
        for link in sorted(set(HREF.findall(text))):
            target, _, anchor = link.partition("#")
            if "://" in link or link.startswith(("mailto:", "data:", "/")):
                continue
            place = posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) if target else path
            page = f"{place}/index.html" if (site / place).is_dir() else place
            page = page.removeprefix("./")
            is_page = page.endswith(".html")
            if not (site / page).is_file() or (anchor and is_page and anchor not in anchors[page]):
                yield f"{path}: {link}"


def build() -> None:
    """Build the site, and put it in its place."""
    with tempfile.TemporaryDirectory(prefix="guide-") as temporary:
        directory = Path(temporary)
        formulas = stage(directory / "pages")
        (directory / "pages/guide.css").write_text(STYLE, "utf-8")
        shutil.copy(ROOT / "api/studio/assets/icon.svg", directory / "pages/images/icon.svg")
        (directory / "mkdocs.yml").write_text(json.dumps(configuration()), "utf-8")  # JSON is YAML
        command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", "mkdocs.yml"]
        environment = os.environ | {"NO_COLOR": "1"}
        result = subprocess.run(  # noqa: S603 - a fixed command
            command, cwd=directory, env=environment, capture_output=True, text=True, check=False
        )
        if result.returncode:
            sys.exit(f"{result.stdout}\n{result.stderr[-2000:]}")
        site = directory / "site"
        finish(site, formulas)
        if links := list(dead_links(site)):
            sys.exit("These links of the guide lead nowhere:\n" + "\n".join(links))
        (site / STAMP).write_text(sources(), "utf-8")
        shutil.rmtree(TARGET, ignore_errors=True)
        shutil.copytree(site, TARGET)


def main() -> None:
    """Build the guide unless it is there already."""
    stamp = TARGET / STAMP
    if stamp.is_file() and stamp.read_text("utf-8") == sources():
        return
    build()
    print(f"The guide is in {TARGET.relative_to(ROOT)}/; the API serves it at /guide.")


if __name__ == "__main__":
    main()
