"""The contact sheet of a batch: one HTML page beside the images, which shows them with prompt, seed and errors.

It needs no network and no script. The images themselves are its thumbnails, and a browser loads those that are on the
screen. It is made piece by piece, so that a batch of any size needs little memory.
"""

from dataclasses import dataclass
from html import escape
from urllib.parse import quote

NAME = "index.html"

MAX_PROMPT_CHARS = 2000
"""Characters of a prompt on the page."""


@dataclass(frozen=True, slots=True)
class SheetEntry:
    """An image of a line, or a line without an image.

    file: the name of the image beside the page; None: there is none. error: why there is none.
    """

    custom_id: str
    prompt: str
    status: str
    file: str | None = None
    seed: int | str | None = None
    error: str | None = None


def page_head(title: str, facts: str) -> str:
    """The beginning of the page. facts: a line below the title."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>{escape(title)}</h1><p>{escape(facts)}</p></header>
<main>
"""


def page_entry(entry: SheetEntry) -> str:
    """A card of the page."""
    prompt = entry.prompt if len(entry.prompt) <= MAX_PROMPT_CHARS else entry.prompt[:MAX_PROMPT_CHARS] + "…"
    name = escape(entry.custom_id)
    seed = "" if entry.seed in (None, "") else f"<span>seed {escape(str(entry.seed))}</span>"
    if entry.file is not None:
        address = escape(quote(entry.file), quote=True)
        image = f'<a href="{address}"><img src="{address}" alt="" loading="lazy" decoding="async"></a>'
    else:
        reason = entry.error or f"The line is {entry.status}."
        image = f'<p class="none">{escape(reason)}</p>'
    kind = "failed" if entry.file is None and entry.error else "image"
    return (
        f'<figure class="{kind}">{image}<figcaption><p class="prompt" dir="auto">{escape(prompt)}</p>'
        f'<p class="facts"><span class="name">{name}</span>{seed}</p></figcaption></figure>\n'
    )


def page_end() -> str:
    """The end of the page."""
    return "</main>\n</body>\n</html>\n"


_STYLE = """
:root { --ground: #f6f6f4; --card: #ffffff; --text: #1c1c1a; --quiet: #6b6b66; --line: #deded9; --error: #a4262c; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #171716; --card: #212120; --text: #ececea; --quiet: #9c9c96; --line: #343432; --error: #ff9a93; }
}
* { box-sizing: border-box; margin: 0; }
body { background: var(--ground); color: var(--text); font: 15px/1.45 system-ui, sans-serif; padding: 28px; }
header { margin-bottom: 24px; }
h1 { font-size: 20px; font-weight: 600; overflow-wrap: anywhere; }
header p { color: var(--quiet); }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 18px; }
figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px; overflow: hidden;
  display: flex; flex-direction: column; content-visibility: auto; contain-intrinsic-size: 220px 330px; }
figure a { display: block; aspect-ratio: 1; background: var(--line); }
img { width: 100%; height: 100%; object-fit: contain; display: block; }
.none { aspect-ratio: 1; display: grid; place-content: center; padding: 16px; text-align: center; color: var(--quiet);
  overflow: hidden; overflow-wrap: anywhere; border-bottom: 1px solid var(--line); }
.failed .none { color: var(--error); }
figcaption { padding: 10px 12px 12px; display: flex; flex-direction: column; gap: 6px; flex: 1; }
.prompt { overflow-wrap: anywhere; white-space: pre-wrap; max-height: 7.3em; overflow-y: auto; }
.facts { display: flex; justify-content: space-between; gap: 12px; color: var(--quiet); font-size: 13px;
  margin-top: auto; font-variant-numeric: tabular-nums; }
.name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
@media print { body { padding: 0; } figure { break-inside: avoid; } }
"""
