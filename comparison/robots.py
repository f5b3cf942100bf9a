"""Simulated observers who answer without a page, through the session that people use.

Their names say what they are: robot-SEED. They are for examples and tests, never for results.
"""

import math
import random
from collections.abc import Callable

from .session import Session
from .thurstone import SCALE

Quality = Callable[[str, str], float]


def run_robot(session: Session, seed: int, quality: Quality, slips: float = 0.0) -> str:
    """Answer all that is left of a simulated observer's trials, as Thurstone's Case V says.

    Args:
        session: may be served at the same time.
        seed: names the robot, and decides about its answers.
        quality: (scene, entrant) to how good it finds the result, in just objectionable
            differences; a trap's worsened copy has the entrant `votes.SPOILT`.
        slips: share of answers by mere chance, 0 to 1.
    Returns: its name.
    """
    observer = session.begin_robot(str(seed), {"browser": "simulated"})
    while (number := session.question(observer).trial) is not None:
        pair, side = (trial := session.trial(observer, number)).pair, trial.side
        chance = random.Random(f"{seed} {number}")
        better = quality(pair.scene, pair.a) - quality(pair.scene, pair.b)
        share = 0.5 * (1 + math.erf(better / SCALE / math.sqrt(2)))
        takes_a = chance.random() < (0.5 if chance.random() < slips else share)
        other = "right" if side == "left" else "left"
        rt_ms = 1000 * chance.lognormvariate(0.7, 0.5)
        session.vote(observer, number, side if takes_a else other, rt_ms)
    return observer
