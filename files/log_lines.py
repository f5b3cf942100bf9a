"""What is logged, as lines that name who says it: the pack, or a library that it uses."""

import logging

NAME = "latent-map"
_PACKAGE = __name__.rpartition(".files.")[0]


class LogLines(logging.Formatter):
    """Each message after a name: the pack's own, or the library's."""

    def format(self, record: logging.LogRecord) -> str:
        """The message with whose it is."""
        ours = f"{record.name}.".startswith(f"{_PACKAGE}.")
        return f"{NAME if ours else record.name.partition('.')[0]}: {super().format(record)}"


def log_lines() -> logging.Handler:
    """A handler that writes such lines to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogLines())
    return handler
