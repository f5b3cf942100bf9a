"""Whether files may be replaced that the user did not name."""

from .arguments import option


def force_option() -> bool:
    """A field that allows it."""
    return option(
        "replace files that are there already and whose names were not given", default=False
    )
