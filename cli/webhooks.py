"""`safelight webhooks listen`: a receiver for trying things out. It verifies what comes, prints it and answers 204."""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any

import typer

from cli.errors import CommandError
from core.outbox.signing import is_secret, verifies

app = typer.Typer(
    name="webhooks",
    help="Receive webhooks here and show them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

LARGEST = 1_000_000
"""Bytes of an event that are read."""

LATE_SECONDS = 300
"""How far a timestamp may be from now, as verifying libraries have it."""


@app.callback()
def _webhooks() -> None:
    """Hold the commands together."""


@app.command()
def listen(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1 to listen on.")] = 9000,
    secret: Annotated[
        str | None, typer.Option(envvar="SAFELIGHT_WEBHOOK_SECRET", help="whsec_...; verify signatures by it.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Print whole events rather than a line for each.")] = False,
) -> None:
    """Receive webhooks until Ctrl-C. Safelight must run with SAFELIGHT_EGRESS_ALLOW=127.0.0.1 to reach it."""
    if secret is not None and not is_secret(secret):
        raise CommandError("The secret must be whsec_ and 24 to 64 bytes in base64, as the endpoint was made with.")
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), _handler(secret, full))
    except OSError as error:
        raise CommandError(
            f"Port {port} cannot be listened on ({error.strerror}): give another one by --port."
        ) from None
    print(f"Listening on http://127.0.0.1:{port}/ for webhooks; Ctrl-C ends.", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def _handler(secret: str | None, full: bool) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            if not length.isdigit() or int(length) > LARGEST:
                self.send_error(413)
                return
            body = self.rfile.read(int(length))
            headers = {name.lower(): value for name, value in self.headers.items()}
            verdict = _verdict(secret, headers, body)
            print(_shown(headers, body, verdict, full), flush=True)
            self.send_response(400 if verdict in (FORGED, LATE) else 204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing beside the events."""

    return Handler


FORGED, LATE = "signature is NOT valid", "timestamp is too far from now"


def _verdict(secret: str | None, headers: dict[str, str], body: bytes) -> str:
    if secret is None:
        return "not verified: no --secret"
    if not verifies(secret, headers, body):
        return FORGED
    late = abs(time.time() - int(headers["webhook-timestamp"])) > LATE_SECONDS
    return LATE if late else "signature is valid"


def _shown(headers: dict[str, str], body: bytes, verdict: str, full: bool) -> str:
    """An event as one line, or whole. What is no event is shown escaped, so that it cannot play with the terminal."""
    try:
        event = json.loads(body)
        about = event["data"]["id"]
        line = f"{event['type']!s}  {about!s}  {headers.get('webhook-id', 'no webhook-id')}  ({verdict})"
    except (ValueError, KeyError, TypeError):
        return f"not an event: {body[:200]!r}  ({verdict})"
    whole = "\n" + json.dumps(event, indent=2) if full else ""
    return "".join(character for character in line if character.isprintable()) + whole
