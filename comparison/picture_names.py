"""What pictures and entrants of a study may be called: names of files, and cells of tables."""

import unicodedata

# Controls and halves of characters, which no table can hold, and ends of lines, which split a row.
REFUSED = ("Cc", "Cs", "Zl", "Zp")


def flaw_of_name(name: str) -> str:
    """What is wrong with a name, in words that follow "has"; empty if it can be used.

    It must come back from every table as it was, and lead to no other folder.
    """
    if not name.strip(".") or "/" in name or "\\" in name:
        return "no name of its own in a folder (a slash, a backslash, or dots alone)"
    if name != name.strip():
        return "spaces at an end of its name"
    if any(unicodedata.category(sign) in REFUSED for sign in name):
        return "a line's end, or a sign that cannot be read, in its name"
    return ""
