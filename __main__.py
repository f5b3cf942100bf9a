"""The command line of Latent MAP."""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module, metadata
from typing import NoReturn

from .command_line import COMMANDS, GROUPS
from .command_line.arguments import add_arguments, read_arguments
from .command_line.failures import (
    BAD_INPUT,
    EXPECTED,
    INTERRUPTED,
    exit_code,
    explain,
    lacks_memory,
)
from .command_line.printing import Once, unfailing_streams
from .command_line.watched import watched
from .files.log_lines import log_lines

EPILOG = "The pocket backbone and prior are a preview of the method, not Stable Diffusion."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: default those of the process, which then may end in a child's place.
    Returns: 0; 2 for bad input and 3 for a failure while working, each with one line on stderr;
        130 after Ctrl-C.
    """
    with unfailing_streams():
        if arguments is not None:  # a fork would come back to a caller in Python twice
            return _run(arguments)
        return watched(lambda: _run(sys.argv[1:]))


def _run(arguments: Sequence[str]) -> int:
    given, unknown = _parser(arguments).parse_known_args(arguments)
    if unknown:
        given.parser.error(_of_unknown(unknown))
    handler = log_lines()
    handler.addFilter(Once())
    logging.basicConfig(handlers=[handler])
    logging.getLogger(__package__).setLevel(logging.INFO)
    try:
        return given.command.run(read_arguments(given.command.Options, given))
    except KeyboardInterrupt:
        print("latent-map: stopped", file=sys.stderr)
        return INTERRUPTED
    except EXPECTED as error:
        return _told(error)
    except Exception as error:
        if not lacks_memory(error):
            raise
        return _told(error)


def _told(error: Exception) -> int:
    print(f"latent-map: {explain(error)}", file=sys.stderr)
    return exit_code(error)


def _of_unknown(words: Sequence[str]) -> str:
    """What to say of words that a command does not take."""
    told = " ".join(words)
    if words[0].startswith("-"):
        return f"unrecognized arguments: {told}"
    return (
        f"{told!r} is too much: give several pictures as a folder, and put a name with spaces in "
        "quotation marks"
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage."""
        self.exit(BAD_INPUT, f"latent-map: {message} (see {self.prog} --help)\n")


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """A parser of all commands; only those among the arguments are imported, to start quickly."""
    parser = _Parser(prog="latent-map", description=__doc__, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    _add_commands(parser, COMMANDS, "", arguments)
    return parser


def _add_commands(
    parser: argparse.ArgumentParser, names: Mapping[str, str], group: str, arguments: Sequence[str]
) -> None:
    """Give a parser commands; `group` is the folder of their files, with a dot."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, help in names.items():
        command_parser = commands.add_parser(name, help=help)
        if name in GROUPS and not group:
            command_parser.description = help
            _add_commands(command_parser, GROUPS[name], f"{name}.", arguments)
        elif name in arguments:
            _complete(command_parser, f"{group}{name}")


def _complete(parser: argparse.ArgumentParser, name: str) -> None:
    """Give a command's parser what its file says."""
    command = import_module(f".command_line.{name.replace('-', '_')}", __package__)
    parser.description = (command.run.__doc__ or "").partition("\n\n")[0]
    parser.set_defaults(command=command, parser=parser)
    add_arguments(parser, command.Options)
    if "device" not in command.Options.__dataclass_fields__:
        # Every command has taken it, also those that work nowhere.
        parser.add_argument("--device", help=argparse.SUPPRESS)


def _version() -> str:
    try:
        return metadata.version("latent-map")
    except metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
