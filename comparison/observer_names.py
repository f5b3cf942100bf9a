"""What observers may call themselves, and how robots are told from them."""

import re
import unicodedata

LONGEST = 40
PATTERN = re.compile(r"[^\W_][\w .-]*")  # a spreadsheet reads a name that begins with = or + or -
ROBOT = "robot-"


def checked_name(text: str) -> str:
    """An observer's name as it is written down: no outer or doubled spaces, one Unicode form.

    Raises: ValueError if it is empty, too long, of other signs, or a robot's.
    """
    name = " ".join(unicodedata.normalize("NFKC", text).split())
    if not name:
        raise ValueError("the name is empty: give a name or a code")
    if len(name) > LONGEST or not PATTERN.fullmatch(name):
        raise ValueError(
            f"this name cannot be used: give at most {LONGEST} letters, digits, spaces, '.', '-' "
            "or '_', beginning with a letter or a digit"
        )
    if name.casefold().startswith("robot"):
        raise ValueError("names that begin with 'robot' are those of simulated observers")
    return name


def robot_name(seed: str) -> str:
    """The name of the simulated observer of a seed, by which its votes are known as simulated.

    Raises: ValueError unless the seed is a short word of letters and digits.
    """
    if not re.fullmatch(r"[0-9A-Za-z]{1,20}", seed):
        raise ValueError("a robot's seed is 1 to 20 letters and digits, as in ?simulate=7")
    return f"{ROBOT}{seed}"


def is_robot(name: str) -> bool:
    """Whether an observer of that name was simulated."""
    return name.startswith(ROBOT)
