"""`safelight webhooks listen`: a webhook receiver for tests. It verifies each event, prints it and answers 204."""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any

import typer

from cli.errors import CommandError
from cli.table import one_line
from core.outbox.signing import is_secret, verifies

app = typer.Typer(
    name="webhooks",
    help="Receive webhooks on this machine, for tests.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

MAX_BODY_BYTES = 1_000_000

TOLERANCE_SECONDS = 300
"""Maximum age of a timestamp, as in the Standard Webhooks libraries."""


@app.callback()
def _webhooks() -> None:
    """Make `app` a group of commands."""


@app.command()
def listen(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 9000,
    secret: Annotated[
        str | None,
        typer.Option(
            envvar="SAFELIGHT_WEBHOOK_SECRET", help="Secret of the endpoint (whsec_...), to verify signatures."
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Print the complete events.")] = False,
) -> None:
    """Receive webhooks until Ctrl-C. Safelight must run with SAFELIGHT_EGRESS_ALLOW=127.0.0.1."""
    if secret is not None and not is_secret(secret):
        raise CommandError(
            "The secret must be whsec_ and 24 to 64 bytes in base64: use the secret of the webhook endpoint."
        )
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), _handler(secret, full))
    except OSError as error:
        raise CommandError(
            f"The command cannot listen on port {port} ({error.strerror}): choose another one with --port."
        ) from None
    print(f"Listening on http://127.0.0.1:{port}/ for webhooks. Ctrl-C stops.", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def _handler(secret: str | None, full: bool) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            if not length.isdigit() or int(length) > MAX_BODY_BYTES:
                self.send_error(413)
                return
            body = self.rfile.read(int(length))
            headers = {name.lower(): value for name, value in self.headers.items()}
            result = _verify(secret, headers, body)
            print(_format_event(headers, body, result, full), flush=True)
            self.send_response(400 if result in (WRONG_SIGNATURE, WRONG_TIME) else 204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Do not log requests; only the events are printed."""

    return Handler


WRONG_SIGNATURE, WRONG_TIME = "signature is NOT valid", "timestamp is too far from now"


def _verify(secret: str | None, headers: dict[str, str], body: bytes) -> str:
    if secret is None:
        return "not verified: no --secret"
    if not verifies(secret, headers, body):
        return WRONG_SIGNATURE
    age = abs(time.time() - int(headers["webhook-timestamp"]))
    return WRONG_TIME if age > TOLERANCE_SECONDS else "signature is valid"


def _format_event(headers: dict[str, str], body: bytes, result: str, full: bool) -> str:
    """An event on one line; if `full`, with its JSON below. Control characters are removed or escaped."""
    try:
        event = json.loads(body)
        fields = (event["type"], event["data"]["id"], headers.get("webhook-id", "no webhook-id"), f"({result})")
    except (ValueError, KeyError, TypeError):
        return f"not an event: {body[:200]!r}  ({result})"
    line = "  ".join(one_line(str(field)) for field in fields)
    return f"{line}\n{json.dumps(event, indent=2)}" if full else line
