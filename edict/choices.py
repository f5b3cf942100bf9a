"""Choices that go by name, stated once; without torch, so that command lines and forms can ask."""

from typing import Literal

Acceleration = Literal["auto", "graph", "compile", "none"]
Memory = Literal["auto", "store", "recompute"]
Prediction = Literal["eps", "v", "flow"]
Spacing = Literal["trailing", "leading"]
