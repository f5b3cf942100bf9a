"""What can be chosen of the quality models, for those who list it before torch is there."""

from typing import Literal

Crops = Literal["cover", "official"]
Pooling = Literal["crops", "levels"]
Ties = Literal["half", "first"]
