"""Removes what an operator does not show to tenants from texts of libraries, providers and stores.

These texts are quoted in the errors of jobs. They may contain ids and names of the operator's account at a provider,
keys, e-mail addresses, addresses of internal servers, and paths of files. The full text goes to the log.
"""

import re

_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>)\]]+", "[url]"),
        (r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+", "[email]"),
        # Keys: of OpenAI also with asterisks in the middle, as its messages quote them; ours; AWS's; tokens of a header
        (r"\b(?:sk|sess|rk|pk)-[\w*.…-]{3,}", "[key]"),
        (r"\bsl_[\w-]{8,}", "[key]"),
        (r"\bwhsec_[\w+/=-]{8,}", "[key]"),
        (r"\b(?:AKIA|ASIA)[0-9A-Z]{12,}", "[key]"),
        (r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", r"\1 [key]"),
        (r"\b(password|passwd|secret|token|api[_-]?key|access[_-]?key(?:[_-]?id)?)\s*[=:]\s*[^\s,;)]+", r"\1=[key]"),
        # The account at a provider: ids, and names after the word
        (r"\b(?:org|proj|req|user|asst|acct)[-_][A-Za-z0-9]{3,}\b", "[id]"),
        (
            r"\b(organi[sz]ation|project|account|bucket|container)(\s+|[:=]\s*)(['\"`“‘])[^'\"`”’]+['\"`”’]",
            r"\1 [name]",
        ),
        (
            r"\b(organi[sz]ation|project)(\s+|[:=]\s*)"
            r"(?!(?:is|has|have|does|do|must|may|can|cannot|was|were|will|on|in|and|or|to|of|for|with|not|named?|id|"
            r"limit|settings?|key|does|you|that|needs?|found|already|\[)\b|\[)[\w][\w.-]*",
            r"\1 [name]",
        ),
        # Servers: addresses with or without a port, names with a port
        (r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b", "[address]"),
        (r"(?<![\w:])(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}(?![\w:])", "[address]"),
        (r"\b(?:(?:[a-z0-9-]+\.)+[a-z][a-z0-9-]*:\d{2,5}|[a-z][a-z0-9-]*:\d{4,5})\b", "[address]"),
        (r"\b((?:host|server|user|role|database|relation)\s+)(?:name\s+)?\"[^\"]+\"", r"\1[name]"),
        # Files; but not the paths of the API, which our own messages name
        (r"(?<![\w.\]/])(?!/v1/)(?:~|\.{1,2})?/(?:[\w.+@~-]+/)+[\w.+@~-]*", "[path]"),
        (r"(?<![\w.\]/])/(?:etc|home|opt|root|srv|tmp|usr|var|data|mnt|models)/?[\w.+@~-]*", "[path]"),
        (r"\b[a-z]:\\[^\s'\"]+", "[path]"),
    )
)


def redact(text: str) -> str:
    """A text without keys, ids and names of accounts, addresses and paths."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text
