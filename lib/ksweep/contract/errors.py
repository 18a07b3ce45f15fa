"""Errors that people are expected to meet; each shows itself as a message, without a traceback.

KsweepError
  RequestError     the request was wrong: nothing was started (exit code 2)
  ConfigError      a finished configuration cannot be read as the trainer asks (exit code 2)
"""


class KsweepError(Exception):
    """Base of all expected errors."""

    exit_code = 1


class RequestError(KsweepError):
    """One or more problems of a request, all found before anything started."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ConfigError(KsweepError):
    """A symbol is missing from a configuration, or its value is not of the type asked for."""

    exit_code = 2
