"""The message of `safelight up` when it is ready: the URL, and example code that generates an image."""

import sys

from cli.environment import reachable_host
from core.settings import Settings

PROMPT = "A cat sitting on a sofa."


def print_panel(settings: Settings, model: str, key: str | None, *, seconds: float, is_loading: bool = False) -> None:
    """Print the message; on a terminal, between two rules."""
    url = api_url(settings)
    title = f"Safelight is ready at {url} ({seconds:.1f} s)"
    text = f"Open {url}/ in a browser   docs: {url}/docs   logs: {settings.data_dir / 'logs'}   stop: Ctrl-C\n"
    text += f"{settings.access}.\n"
    if is_loading:
        text += "The worker is still loading its model; jobs wait until then.\n"
    if key is not None:
        text += f"\nYour first API key, shown only now:\n  {key}\n"
    elif settings.needs_key:
        text += "\nIn place of YOUR_KEY below, use your API key. Another one: safelight keys create NAME\n"
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
    """Shell code that submits a prompt, waits for the image and saves it as `cat.png`.

    From the second curl on, the lines print the job's status, and may be repeated until there is an image.
    """
    header = f" \\\n  -H 'authorization: Bearer {key or 'YOUR_KEY'}'" if needs_key else ""
    return (
        f"job=$(curl -sS {url}/v1/jobs{header} \\\n"
        f"  -H 'content-type: application/json' -d '{{\"prompt\": \"{PROMPT}\"}}' \\\n"
        "  | grep -o 'job_[0-9A-Za-z]*' | head -1)\n"
        f'reply=$(curl -sS "{url}/v1/jobs/$job?wait=60"{header}); '
        'echo "$reply" | grep -o \'"status":"[a-z_]*"\'\n'
        'image=$(echo "$reply" | grep -o \'"url":"[^"]*\' | cut -d \'"\' -f 4)\n'
        '[ -n "$image" ] && curl -sS "$image" -o cat.png || echo "No image yet: repeat from the second curl on"'
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
