"""What can be chosen of the embedded backbone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PocketOptions:
    """Nothing: there is one pocket."""
