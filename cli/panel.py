"""The message of `safelight up` when it is ready: the URL, and example code that generates an image."""

import sys

from cli.environment import reachable_host
from core.settings import Settings

PROMPT = "A cat sitting on a sofa."


def print_panel(settings: Settings, model: str, key: str | None, *, seconds: float) -> None:
    """Print the message; on a terminal, between two rules."""
    url = api_url(settings)
    title = f"Safelight is ready at {url} ({seconds:.1f} s)"
    text = f"{url}/docs   logs: {settings.data_dir / 'logs'}   stop: Ctrl-C\n{settings.access}.\n"
    if key is not None:
        text += f"\nYour first API key, shown only now:\n  {key}\n"
    text += f"\n# An image with curl\n{curl_lines(url, settings.needs_key, key)}\n"
    text += f"\n# The same with the OpenAI SDK\n{sdk_lines(url, model, settings.needs_key, key)}"
    if not sys.stdout.isatty():
        print(f"{title}\n{text}", flush=True)
        return
    from rich.console import Console
    from rich.rule import Rule
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Rule(Text(title, "bold green"), style="green"))
    console.print(Text(text), soft_wrap=True)  # no frame and no padding, so that the lines can be copied
    console.print(Rule(style="green"))


def api_url(settings: Settings) -> str:
    """The URL under which this machine reaches the API."""
    return settings.model_copy(update={"host": reachable_host(settings)}).base_url


def curl_lines(url: str, needs_key: bool, key: str | None) -> str:
    """Shell code that submits a prompt, waits for the image and saves it as `cat.png`."""
    header = f" \\\n  -H 'authorization: Bearer {key or 'YOUR_KEY'}'" if needs_key else ""
    return (
        f"job=$(curl -s {url}/v1/jobs{header} \\\n"
        f"  -H 'content-type: application/json' -d '{{\"prompt\": \"{PROMPT}\"}}' \\\n"
        "  | grep -o 'job_[0-9A-Za-z]*' | head -1)\n"
        f'curl -s "{url}/v1/jobs/$job?wait=60"{header} \\\n'
        '  | grep -o \'"url":"[^"]*\' | cut -d \'"\' -f 4 | xargs curl -s -o cat.png'
    )


def sdk_lines(url: str, model: str, needs_key: bool, key: str | None) -> str:
    """Python code that generates an image with the OpenAI SDK."""
    secret = key or ("YOUR_KEY" if needs_key else "anything")
    return (
        "from openai import OpenAI\n"
        f'client = OpenAI(base_url="{url}/v1", api_key="{secret}")\n'
        f'image = client.images.generate(model="{model}", prompt="{PROMPT}")\n'
        "print(image.data[0].url)"
    )
