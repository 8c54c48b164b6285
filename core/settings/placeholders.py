"""Refuses secrets that are examples: a password that everybody knows protects nothing."""

from urllib.parse import unquote, urlsplit

PLACEHOLDERS = frozenset(
    {"changeme", "change-me", "change_me", "replaceme", "replace-me", "password", "secret", "todo"}
)


def is_placeholder(secret: str | None) -> bool:
    """Whether a secret is an example, in any case of letters."""
    return secret is not None and secret.strip().lower() in PLACEHOLDERS


def password_of(url: str | None) -> str | None:
    """The password in a URL."""
    try:
        password = urlsplit(url or "").password
    except ValueError:
        return None  # what reads the URL reports that it is not valid
    return None if password is None else unquote(password)
