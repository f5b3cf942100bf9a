"""Pairs of latents, and bijections of toy networks between them."""

import operator
from itertools import accumulate

from latent_map.edict.bijections.bdia import Bdia
from latent_map.edict.bijections.bijection import LatentPair
from latent_map.edict.bijections.obelm import OBelm
from latent_map.edict.schedule import flow_schedule, scaled_linear_alphas, vp_schedule

from .toys import ConvDenoiser, flow_times, noise

ALPHAS = scaled_linear_alphas()
MEMORIES = ("store", "recompute", "auto", 3)
PREDICTIONS = ("eps", "v", "flow")
RULES = ("bdia", "obelm")


def distance(ours, theirs):
    """Largest difference of two pairs."""
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


def size(*pairs):
    return max(1.0, *(float(tensor.abs().max()) for pair in pairs for tensor in pair))


def noise_pair(seed=0, *shape):
    shape = shape or (1, 4, 4, 4)
    return LatentPair(noise(seed, *shape), noise(seed + 100, *shape))


def schedule_of(prediction, steps, spacing="trailing"):
    if prediction == "flow":
        return flow_schedule(flow_times(steps), steps)
    return vp_schedule(ALPHAS, steps, prediction, spacing)


def two_step_toy(rule="obelm", steps=5, prediction="v", gamma=1.0, spacing="trailing", **network):
    schedule = schedule_of(prediction, steps, spacing)
    denoiser = ConvDenoiser(**{"channels": 4} | network)
    if prediction == "flow":
        return two_step(lambda x, t: denoiser(x, 1000 * t), schedule, rule, gamma)
    return two_step(denoiser, schedule, rule, gamma)


def two_step(denoiser, schedule, rule, gamma=1.0):
    return Bdia(denoiser, schedule, gamma) if rule == "bdia" else OBelm(denoiser, schedule)


def shrinkage(map_):
    """The most by which a reconstruction amplifies what the memory r is off, at least 1."""
    return max([1.0, *accumulate((row.memory for row in map_.rows), operator.mul)])
