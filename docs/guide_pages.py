"""The pages of the guide: their place in the navigation, and their text as Zensical reads it."""

import posixpath
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import diagrams
from latex2mathml.converter import convert

NAVIGATION: Mapping[str, tuple[str, ...]] = {
    "Start": ("README.md", "docs/00-overview.md", "docs/09-studio.md", "docs/command-line.md"),
    "Use": (
        "docs/01-api.md",
        "docs/02-jobs.md",
        "docs/03-batches.md",
        "docs/04-webhooks.md",
        "docs/08-agents.md",
        "docs/clients.md",
        "clients/python/README.md",
        "clients/typescript/README.md",
        "docs/migrate-from-dall-e.md",
        "docs/webui.md",
    ),
    "Run": (
        "docs/06-operations.md",
        "docs/07-before-strangers.md",
        "docs/05-performance.md",
        "docs/12-scaling.md",
        "SECURITY.md",
    ),
    "Models": ("docs/10-models.md", "docs/11-fine-tuning.md", "docs/model.md", "models/unclip-mini/README.md"),
    "Reference": ("docs/reference/*.md",),
    "Change": ("CONTRIBUTING.md", "CHANGELOG.md", "docs/decisions/*.md"),
}
"""The sections of the navigation, and the files of their pages."""

SITE_PAGES = tuple(path for paths in NAVIGATION.values() for path in paths if "*" not in path)

FENCE = re.compile(
    r"^(?P<indent> *)(?P<mark>```+)(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)(?P=mark) *$", re.M | re.S
)
LINK = re.compile(r"(?P<start>!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()(?P<target>[^()\s]+)(?P<end>\))")
INLINE_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.S)
INLINE_FORMULA = re.compile(r"(?<![\\$\w])\$(?=\S)([^$\n]+?)(?<=\S)\$(?![\w$])")
IMAGES = (".webp", ".png", ".svg", ".jpg")
LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".json": "json", ".conf": "nginx"}


@dataclass(slots=True)
class Page:
    """A page for Zensical. links: the files outside of `docs/` that it refers to. images: those that it shows."""

    text: str = ""
    links: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)


TITLES = {
    "README.md": "Welcome",
    "clients/python/README.md": "Client for Python",
    "clients/typescript/README.md": "Client for TypeScript",
    "models/unclip-mini/README.md": "The bundled model",
}
"""Titles in the navigation that differ from those of the pages."""


def file_page(path: str) -> str:
    """The page that shows a file of the repository: `docs/` is the root of the site, README.md its first page."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/") and path.endswith(".md"):
        return path.removeprefix("docs/")
    # A page is a folder, and one with a name such as `loss.py` would be taken for code.
    return f"files/{path.removesuffix('.md').rstrip('/').replace('.', '-')}.md"


def prepared(root: Path, path: str, formulas: list[str]) -> Page:
    """The page of a file or folder. Adds its formulas, as MathML, to those of the other pages."""
    file = root / path
    if file.is_dir():
        names = sorted(child.name + "/" * child.is_dir() for child in file.iterdir() if child.name != "__pycache__")
        text = f"# {path.rstrip('/')}\n\n" + "\n".join(f"- [{name}]({name})" for name in names) + "\n"
        return _with_links(root, path.rstrip("/") + "/", text, formulas)
    if path.endswith(".md"):
        return _with_links(root, path, file.read_text("utf-8"), formulas)
    content = file.read_bytes()
    if b"\0" in content:
        return Page(f"# {path}\n\nThis file is not text: it has {len(content):,} bytes.\n")
    language = LANGUAGES.get(file.suffix, "text")
    return Page(f"# {path}\n\n`````{language}\n{content.decode('utf-8').rstrip()}\n`````\n")


def _with_links(root: Path, path: str, text: str, formulas: list[str]) -> Page:
    """The text of a page with the links, diagrams and formulas of the site; code stays as it is."""
    page, position = Page(), 0
    for match in FENCE.finditer(text):
        page.text += _prose(root, path, text[position : match.start()], page, formulas)
        page.text += _block(path, match, formulas)
        position = match.end()
    page.text += _prose(root, path, text[position:], page, formulas)
    return page


def _block(path: str, match: re.Match[str], formulas: list[str]) -> str:
    """A code block, a diagram or a formula."""
    code = match["code"]
    if match["language"] == "mermaid":
        return "\n".join(_diagram(path, code, theme) for theme in diagrams.THEMES)
    if match["language"] == "math":
        return _formula(code, "block", formulas)
    return match[0]


def _diagram(path: str, source: str, theme: str) -> str:
    name = diagrams.name_of(source, theme)
    if not (diagrams.FILES / name).exists():
        sys.exit(f"{path} has a diagram that is not drawn yet: run python docs/diagrams.py")
    image = posixpath.relpath(f"images/diagrams/{name}", posixpath.dirname(file_page(path)) or ".")
    return f"[![A diagram, as described in the text]({image}#only-{theme})]({image})"


def _formula(latex: str, display: str, formulas: list[str]) -> str:
    """A word that stands for a formula, until the pages are built."""
    formulas.append(convert(latex.strip(), display=display))
    return f"formula{len(formulas) - 1:04}x"


def _prose(root: Path, path: str, text: str, page: Page, formulas: list[str]) -> str:
    """Text between code blocks."""
    codes: list[str] = []

    def take_code(match: re.Match[str]) -> str:
        codes.append(match[0])
        return f"\0{len(codes) - 1}\0"

    text = INLINE_CODE.sub(take_code, text)
    text = INLINE_FORMULA.sub(lambda match: _formula(match[1], "inline", formulas), text)
    text = LINK.sub(lambda match: match["start"] + _target(root, path, match["target"], page) + match["end"], text)
    return re.sub("\0(\\d+)\0", lambda match: codes[int(match[1])], text)


def _target(root: Path, path: str, link: str, page: Page) -> str:
    """The target of a link in the site."""
    target, hash_sign, anchor = link.partition("#")
    if "://" in link or not target or link.startswith("mailto:"):
        return link
    file = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    here = posixpath.dirname(file_page(path.rstrip("/"))) or "."
    if file.endswith(IMAGES):
        if not file.startswith("docs/"):
            page.images.append(file)
        return posixpath.relpath(file.removeprefix("docs/"), here)
    if not (root / file).exists():
        sys.exit(f"{path}: there is no {link}")
    page.links.append(file)
    return posixpath.relpath(file_page(file), here) + hash_sign + anchor
