"""Names that Windows reads as something else than a file's."""

import sys

DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"}
NUMBERED = {f"{name}{digit}" for name in ("com", "lpt") for digit in "123456789\u00b9\u00b2\u00b3"}
WINDOWS = sys.platform == "win32"


def flaw_on_windows(name: str) -> str:
    """What Windows would take a file's or folder's name for, in words; empty for a name.

    Args:
        name: without folders.
    """
    stem = name.partition(".")[0].rstrip(" ").casefold()
    if stem in DEVICES | NUMBERED:
        return "a device of Windows"
    if ":" in name:
        return "a hidden part of another file on Windows"
    if name != name.rstrip(" ."):
        return "a name without its last signs on Windows"
    return ""
