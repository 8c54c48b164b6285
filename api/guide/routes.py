"""The guide at `/guide`: the site that `docs/guide.py` builds into `site/`. It is open, like the studio's own page.

The site is read from disk at each request, so a new build is shown at once. Only paths of files that are there lead
to a file: a path is looked up in a list, never joined.
"""

import html
from functools import lru_cache
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

router = APIRouter(include_in_schema=False)

SITE = Path(__file__).parent / "site"
HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": (
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
"""All scripts are files of the site; `docs/guide.py` takes them out of the pages. The search box styles itself."""

NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Guide - Safelight</title>
<h1>The guide is not built here</h1>
<p>In a clone of the repository, <code>make guide</code> builds it in a few seconds; then load this page again.</p>
<p>The same pages are in the folder <code>docs/</code>. <a href="{base}docs">All calls of the API</a> are described by
the server itself.</p></html>
"""


@router.get("/guide")
async def start() -> Response:
    """The links of the pages are relative, so the first page has a slash at its end."""
    return RedirectResponse("/guide/", status_code=308)


@router.get("/guide/{path:path}")
async def page(request: Request, path: str) -> Response:
    """A page or file of the site."""
    base: str = request.scope["prefix"] + "/"
    if not (SITE / "index.html").is_file():
        return HTMLResponse(NOT_BUILT.format(base=html.escape(base)), status_code=404, headers=HEADERS)
    files = _files(SITE.stat().st_mtime_ns)
    if path and not path.endswith("/") and f"{path}/index.html" in files:
        return RedirectResponse(f"/guide/{path}/", status_code=308)
    file = files.get(path if path and not path.endswith("/") else f"{path}index.html")
    if file is not None:
        return FileResponse(file, headers=HEADERS)
    content = (SITE / "404.html").read_text("utf-8").replace('"/guide/', f'"{html.escape(base)}guide/')
    return HTMLResponse(content, status_code=404, headers=HEADERS)


@lru_cache(maxsize=1)
def _files(_built_at: int) -> dict[str, Path]:
    """The files of a build, by their path in the site."""
    return {file.relative_to(SITE).as_posix(): file for file in SITE.rglob("*") if file.is_file()}
