"""Examples of the commands, for the end of their `--help`."""

EXIT_CODES = {
    0: "done",
    1: "it cannot be done; the reason is on stderr",
    2: "the command line is wrong",
    3: "a batch has ended, and not every line completed",
    130: "interrupted by Ctrl-C",
}
"""The exit codes of all commands."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "up": ("safelight up", "safelight up --without-worker"),
    "generate": (
        "safelight generate a cat on a sofa",
        "safelight generate a cat -n 4 --size 256x256 -o cat.png",
        "safelight generate a red sofa --image room.png --mask mask.png -o new.png",
        "safelight generate --image room.png --variation",
    ),
    "watch": ("safelight watch job_01kc3m9w8yq6k0v2t5x7z1b4dn",),
    "jobs": ("safelight jobs", "safelight jobs --status failed --limit 100 --json"),
    "cancel": ("safelight cancel job_01kc3m9w8yq6k0v2t5x7z1b4dn",),
    "reproduce": ("safelight reproduce job_01kc3m9w8yq6k0v2t5x7z1b4dn",),
    "batch": (
        "safelight batch prompts.csv --dry-run",
        "safelight batch prompts.csv --out images/",
        "safelight batch prompts.txt --size 256x256 --out images/ --retry-failed",
        "safelight batch --out images/",
    ),
    "batches": ("safelight batches list", "safelight batches retry batch_01kc3m9w8yq6k0v2t5x7z1b4dn"),
    "batches list": ("safelight batches list --limit 5", "safelight batches list --json"),
    "batches show": ("safelight batches show batch_01kc3m9w8yq6k0v2t5x7z1b4dn",),
    "batches cancel": ("safelight batches cancel batch_01kc3m9w8yq6k0v2t5x7z1b4dn",),
    "batches retry": ("safelight batches retry batch_01kc3m9w8yq6k0v2t5x7z1b4dn",),
    "fine-tune": (
        "safelight fine-tune create zorble.zip --model unclip-mini --suffix zorble",
        "safelight fine-tune list",
    ),
    "fine-tune create": (
        "safelight fine-tune create zorble.zip --model unclip-mini --suffix zorble",
        "safelight fine-tune create pairs.jsonl --model sdxl --steps 1000 --rank 32",
    ),
    "fine-tune list": ("safelight fine-tune list --limit 5",),
    "fine-tune show": ("safelight fine-tune show ftjob-01kc3m9w8yq6k0v2t5x7z1b4dn",),
    "fine-tune events": ("safelight fine-tune events ftjob-01kc3m9w8yq6k0v2t5x7z1b4dn --limit 100",),
    "fine-tune cancel": ("safelight fine-tune cancel ftjob-01kc3m9w8yq6k0v2t5x7z1b4dn",),
    "webhooks": ("safelight webhooks listen",),
    "webhooks listen": ("safelight webhooks listen --port 9000 --full",),
    "models": ("safelight models list", "safelight models add ./sdxl-base --id sdxl --write"),
    "models list": ("safelight models list",),
    "models check": ("safelight models check sdxl --output images",),
    "models reload": ("safelight models reload",),
    "models add": ("safelight models add ./sdxl-base", "safelight models add ./sdxl-base --id sdxl --write"),
    "mcp": ("safelight mcp", "safelight mcp --url http://gpu.lan:8000"),
    "doctor": ("safelight doctor",),
    "bench": ("safelight bench model",),
    "bench model": ("safelight bench model --seconds 60", "safelight bench model --model unclip-mini --json"),
    "keys": ("safelight keys create laptop", "safelight keys list"),
    "keys create": (
        "safelight keys create laptop",
        "safelight keys create shop --project shop --scope submit --scope read --expires-in 30d",
    ),
    "keys list": ("safelight keys list",),
    "keys revoke": ("safelight keys revoke key_01kc3m9w8yq6k0v2t5x7z1b4dn",),
    "keys audit": ("safelight keys audit --limit 200",),
    "erase": (
        "safelight erase --job job_01kc3m9w8yq6k0v2t5x7z1b4dn",
        "safelight erase --user user-4711 --project shop",
    ),
    "projects": ("safelight projects list", "safelight projects limits shop --jobs 100"),
    "projects list": ("safelight projects list",),
    "projects limits": ("safelight projects limits shop", "safelight projects limits shop --jobs 100"),
    "admin": ("safelight admin queues", "safelight admin pause queue local"),
    "admin queues": ("safelight admin queues", "safelight admin queues --json"),
    "admin workers": ("safelight admin workers",),
    "admin pause": ("safelight admin pause queue local", "safelight admin pause worker gpu-3 --yes"),
    "admin drain": ("safelight admin drain worker gpu-3:4711",),
    "admin resume": ("safelight admin resume queue local",),
    "admin failures": ("safelight admin failures", "safelight admin failures --hours 720 --bucket 1d"),
    "admin slow": ("safelight admin slow --by wait",),
    "admin crashed": ("safelight admin crashed",),
    "admin deliveries": ("safelight admin deliveries --by-destination",),
    "admin cancel": ("safelight admin cancel --queue local --project proj_default --dry-run",),
    "admin retry": (
        "safelight admin retry --error-code storage_failed --created-after 2026-11-28",
        "safelight admin retry --status failed --status expired --model unclip-mini --yes",
    ),
    "admin storage": ("safelight admin storage --json",),
    "top": ("safelight top", "safelight top --once"),
    "usage": ("safelight usage --days 7", "safelight usage --by model,size --bucket 1h --csv"),
    "api": ("safelight api",),
    "worker": ("safelight worker --queue local", "safelight worker --concurrency 4"),
    "training": ("safelight training",),
    "sweep": ("safelight sweep",),
    "deliver": ("safelight deliver",),
    "migrate": ("safelight migrate",),
    "version": ("safelight version",),
}
"""By command: command lines."""


def epilog(command: str) -> str:
    """The end of the help of a command; of `safelight` itself, if it has no name."""
    if not command:
        codes = (f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items())
        return _block("Exit codes:", *codes)
    examples = EXAMPLES.get(command, ())
    return _block("Examples:", *(f"  {line}" for line in examples)) if examples else ""


def _block(*lines: str) -> str:
    """Lines that are not wrapped."""
    return "\n".join(("\b", *lines))
