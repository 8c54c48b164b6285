"""Runs the checks of the settings, in order, on prompts and images, until one rejects."""

from collections.abc import Sequence

from core.generation_errors import ContentPolicyViolation
from core.moderation import Check, Content, Verdict
from core.settings import Settings
from worker.moderation.hook import HookCheck
from worker.moderation.openai import OpenAIModeration
from worker.moderation.words import Words


class Moderator:
    """The checks of one worker."""

    def __init__(self, checks: Sequence[Check], *, images: bool = False, ignore: Sequence[str] = ()) -> None:
        """images: whether images are judged too. ignore: categories that do not reject."""
        self._checks = checks
        self._images = images
        self._ignore = frozenset(ignore)

    @classmethod
    def open(cls, settings: Settings) -> "Moderator":
        """The moderator of the settings. Raises WordListError, HookError, ValueError or ImportError."""
        checks: list[Check] = []
        for name in settings.moderation_checks:
            match name:
                case "words":
                    checks.append(Words(*([settings.moderation_words] if settings.moderation_words else [])))
                case "openai":
                    checks.append(OpenAIModeration(settings))
                case "hook":
                    checks.append(HookCheck(settings))
        ignore = [name.strip() for name in settings.moderation_ignore.split(",") if name.strip()]
        return cls(checks, images=settings.moderation_images, ignore=ignore)

    @property
    def judges_images(self) -> bool:
        """Whether any check judges images."""
        return self._images and any(check.judges_images for check in self._checks)

    @property
    def runs_operator_code(self) -> bool:
        """Whether a check is an operator's function in this process, which may end it."""
        return any(isinstance(check, HookCheck) and check.is_in_process for check in self._checks)

    @property
    def pass_verdict(self) -> Verdict | None:
        """The verdict of a job that no check rejected; None without checks."""
        return Verdict(outcome="pass", checks=[check.name for check in self._checks]) if self._checks else None

    def judge(self, contents: Sequence[Content]) -> list[ContentPolicyViolation | None]:
        """The violation of each content, or None. Contents are of one stage. Raises ModerationUnavailable."""
        violations: list[ContentPolicyViolation | None] = [None] * len(contents)
        names: list[str] = []
        for check in self._checks:
            indices = [
                index
                for index, content in enumerate(contents)
                if violations[index] is None and (content.image is None or check.judges_images)
            ]
            if not indices:
                continue
            names.append(check.name)
            for index, categories in zip(indices, check.judge([contents[i] for i in indices]), strict=True):
                if reasons := [name for name in categories if name not in self._ignore]:
                    violations[index] = _violation(contents[index], check.name, reasons, names)
        return violations


_SUBJECTS = {"prompt": "The prompt", "input": "An input image", "image": "A generated image"}


def _violation(content: Content, check: str, categories: list[str], names: list[str]) -> ContentPolicyViolation:
    verdict = Verdict(outcome="reject", checks=list(names), check=check, stage=content.stage, categories=categories)
    message = f"{_SUBJECTS[content.stage]} was rejected by the content policy: {', '.join(categories)}."
    return ContentPolicyViolation(message, verdict=verdict)
