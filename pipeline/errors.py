"""Errors that reach a user: what is wrong, where, and what to do next.

Outcomes (a check that failed, a stage that was skipped) are values with reasons. An exception
means only that something could not be done at all; `entry.py` prints it and picks the exit code.
"""

from dataclasses import dataclass


class PipelineError(Exception):
    """Something could not be done. Printed as one or a few lines, never as a traceback.

    `what` says what is wrong, `where` names the place (file and line, option, stage) and
    `hint` says what to do next; `where` and `hint` may be empty.
    """

    exit_code = 3

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        located = f"{self.where}: {self.what}" if self.where else self.what
        return f"{located}\n  {self.hint}" if self.hint else located


class UsageError(PipelineError):
    """The recipe or the command line is wrong: the user's words have to change."""

    exit_code = 2


class StageError(PipelineError):
    """A stage could not be carried out, or its input is unreadable."""


class NoFormError(StageError):
    """The form that a stage writes has no place for something in this model.

    The chain goes on where nothing behind the stage takes its result; the stage is then SKIPPED.
    """


@dataclass(frozen=True)
class Missing:
    """One thing a run needs and does not have, found before any long work starts."""

    what: str
    hint: str


class MissingError(PipelineError):
    """Everything that is missing, reported at once."""

    def __init__(self, missing: list[Missing]) -> None:
        lines = [f"{thing.what}\n    {thing.hint}" for thing in missing]
        count = f"{len(missing)} things are" if len(missing) > 1 else "1 thing is"
        super().__init__(f"{count} missing, so nothing was started:\n  - " + "\n  - ".join(lines))
        self.missing = missing
