"""The error of a filter that cannot be compiled, with the place in its text."""

from __future__ import annotations

from headrace.errors import ConfigurationError

_WIDEST = 100
"""Characters of the expression that are shown around the mistake."""


class FilterError(ConfigurationError):
    """A filter is written wrongly, or could never match.

    Args:
        detail: What is wrong and what to write instead, in one line.
        expression: The CESQL text; empty where the mistake is not in one.
        offset: Characters before the mistake.
        problems: Every mistake of a list of filters, each with its path.
    """

    def __init__(
        self, detail: str, *, expression: str = "", offset: int = 0, problems: tuple[str, ...] = (), hint: str = ""
    ) -> None:
        self.detail = detail
        self.expression = expression
        self.offset = min(max(offset, 0), len(expression))
        before = expression[: self.offset]
        self.line = before.count("\n") + 1
        """Line of the mistake, from 1."""
        self.column = self.offset - (before.rfind("\n") + 1) + 1
        """Column of the mistake in characters, from 1."""
        super().__init__(self._message(), problems=problems, hint=hint)

    @property
    def summary(self) -> str:
        """Place and mistake in one line, for lists of mistakes."""
        if not self.expression:
            return self.detail
        line = f"line {self.line}, " if "\n" in self.expression else ""
        return f"{line}column {self.column}: {self.detail}"

    def _message(self) -> str:
        if not self.expression:
            return self.detail
        start = max(0, self.column - 1 - _WIDEST // 2)
        text = self.expression.split("\n")[self.line - 1][start : start + _WIDEST]
        # A tab or a control character would move the caret away from its place.
        shown = "".join(each if each.isprintable() else " " for each in text)
        return f"the filter has a mistake at {self.summary}\n    {shown}\n    {' ' * (self.column - 1 - start)}^"
