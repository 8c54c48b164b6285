"""Draw the Mermaid diagrams of the pages for the guide: `python docs/diagrams.py`. It needs npm and Chromium.

GitHub draws them by itself. The guide is static and works offline, so it shows an SVG file for a light page and one
for a dark page. The name of a file is a hash of its diagram's source: a changed diagram has no file until this ran.
"""

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

PAGES = Path(__file__).parent
FILES = PAGES / "images" / "diagrams"
BLOCK = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DATA_ATTRIBUTE = re.compile(r' data-[a-z-]+="[^"]*"')
"""What Mermaid notes for its editor."""

DIGITS = re.compile(r"(\d\.\d)\d+")
"""Places of a pixel that nobody sees, half of the file."""

PACKAGE = "mermaid@11.17.2"
THEMES = {"light": "neutral", "dark": "dark"}
CONFIGURATION = {
    "startOnLoad": False,
    "htmlLabels": False,
    "flowchart": {"htmlLabels": False},
    "deterministicIds": True,
}
DRAW = """async ([source, options]) => {
  mermaid.initialize(options);
  return (await mermaid.render("diagram", source)).svg;
}"""


def name_of(source: str, theme: str) -> str:
    """The file name of a diagram."""
    return f"{hashlib.sha256(source.encode()).hexdigest()[:12]}-{theme}.svg"


def diagrams() -> Iterator[str]:
    """The source of each diagram in the pages."""
    for page in sorted(PAGES.rglob("*.md")):
        yield from BLOCK.findall(page.read_text("utf-8"))


def draw(sources: Mapping[str, tuple[str, str]], script: Path) -> None:
    """Draw diagrams: file name, and its source and theme."""
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_content("<main></main>")
        page.add_script_tag(path=script)
        for name, (source, theme) in sources.items():
            options = {**CONFIGURATION, "theme": THEMES[theme], "fontFamily": "sans-serif"}
            image = DATA_ATTRIBUTE.sub("", page.evaluate(DRAW, [source, options]))
            image = DIGITS.sub(r"\1", image)
            (FILES / name).write_text(image + "\n", "utf-8")
            print(f"drew docs/images/diagrams/{name}")
        browser.close()


def main() -> None:
    """Draw what has no file, and delete the files of former diagrams."""
    FILES.mkdir(exist_ok=True)
    sources = {name_of(source, theme): (source, theme) for source in diagrams() for theme in THEMES}
    for file in FILES.glob("*.svg"):
        if file.name not in sources:
            file.unlink()
    sources = {name: value for name, value in sources.items() if not (FILES / name).exists()}
    if sources:
        with tempfile.TemporaryDirectory() as directory:
            install = ["npm", "install", "--silent", "--no-audit", PACKAGE]
            subprocess.run(install, cwd=directory, check=True)  # noqa: S603 - a fixed command
            draw(sources, Path(directory) / "node_modules/mermaid/dist/mermaid.min.js")


if __name__ == "__main__":
    main()
