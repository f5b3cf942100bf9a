"""What the user chooses about a MAP estimation, and the presets."""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from ..edict.bijections.edict import EdictOptions
from ..edict.choices import Memory
from ..edict.inversion_options import InversionOptions, describe_options

OptimizerName = Literal["adam", "sgd", "lbfgs"]
SpaceName = Literal["diffusion", "pixel"]
Start = Literal["input", "estimate", "sample"]
LARGEST_LAM = 1e6  # beyond it, what holds the picture to its input is lost in float32's rounding
MOST_DRAWS = 64  # a run can be stopped between iterations, and the start comes before them
CHOICES: dict[str, tuple[str, ...]] = {
    "space": get_args(SpaceName),
    "optimizer": get_args(OptimizerName),
    "memory": get_args(Memory),
    "start": get_args(Start),
}


@dataclass(frozen=True)
class MapSettings:
    """Settings of one MAP estimation; the defaults are the paper's (Section IV-A).

    Attributes:
        inversion: diffusion steps, strength, tiles, bijection.
        space: "diffusion" (the method), or "pixel" for the baselines of Eqs. (1) and (2).
        lam: weight of the prior, at least 0; 0 returns the input.
        typicality: weight of the noise's typicality, - log p(x_T), at least 0; 0 is the paper. It
            keeps the picture one that the model could have drawn: see terms/typicality.py.
        expectation: weight of closeness to the picture that the model expects, at least 0; 0 is
            the paper. For models conditioned on the picture: see terms/expectation.py.
        start: where the ascent starts: "input" (the paper), "estimate" (the model's own one-step
            estimate of the clean picture), or "sample" (what the model draws from seeded noise,
            the best by the energy), for models conditioned on the picture. Fidelity is to the input
            all the same.
        blend: share of the estimate in such a start, in (0, 1]; the rest is the input.
        draws: noises that an estimate is the mean of, or samples to choose from, at least 1.
        seed: of these noises.
        use_fidelity: False drops the fidelity term (lambda -> infinity).
        iterations: gradient steps, at least 0; 0 returns the input. Each trial of a line search
            counts as one, since it costs as much.
        optimizer: "sgd" with momentum (Algorithm 1), "adam", or "lbfgs" with a line search.
        learning_rate: alpha, positive; of L-BFGS, the root mean square change of the noise in the
            very first trial, and a fifth of the largest one later.
        momentum: rho in [0, 1); Adam's first beta; L-BFGS has none.
        clip: largest Euclidean norm of the gradient of all variables together; None is off. Not
            with L-BFGS, whose line search would take a clipped gradient for a wrong one.
        patience: stop after so many iterations without a lower energy; None is off.
        target_quality: stop once the quality (in [0, 1]) is reached; None is off.
        memory: "store", "recompute" or "auto": see edict/tape.py.
        check_round_trip: measure once that the map is a bijection (one more reconstruction).
        check_gradient: compare the gradients of network, decoder and prior with what small steps
            change, at the first iteration (some eight network calls more), and warn of those that
            are wrong: see gradient_check.py. In pixel space there is the prior alone.
    """

    inversion: InversionOptions = field(default_factory=InversionOptions)
    space: SpaceName = "diffusion"
    lam: float = 0.01
    typicality: float = 0.0
    expectation: float = 0.0
    start: Start = "input"
    blend: float = 1.0
    draws: int = 2
    seed: int = 0
    use_fidelity: bool = True
    iterations: int = 40
    optimizer: OptimizerName = "sgd"
    learning_rate: float = 2.0
    momentum: float = 0.9
    clip: float | None = None
    patience: int | None = None
    target_quality: float | None = None
    memory: Memory = "auto"
    check_round_trip: bool = True
    check_gradient: bool = True

    def __post_init__(self):
        for name, choices in CHOICES.items():
            chosen = getattr(self, name)
            _require(chosen in choices, f"{name} {chosen!r} must be {_alternatives(choices)}")
        is_lam = math.isfinite(self.lam) and 0 <= self.lam <= LARGEST_LAM
        _require(is_lam, f"lambda {self.lam} must be a number, 0 or more, up to {LARGEST_LAM:g}")
        for name in ("typicality", "expectation"):
            weight = getattr(self, name)
            is_weight = math.isfinite(weight) and 0 <= weight <= LARGEST_LAM
            words = f"{name} {weight} must be a number, 0 or more, up to {LARGEST_LAM:g}"
            _require(is_weight, words)
        _require(0 < self.blend <= 1, f"blend {self.blend} must lie in (0, 1]")
        is_count = isinstance(self.draws, int) and 1 <= self.draws <= MOST_DRAWS
        _require(is_count, f"draws {self.draws} must be a number from 1 to {MOST_DRAWS}")
        is_seed = isinstance(self.seed, int) and 0 <= self.seed < 2**63
        _require(is_seed, f"seed {self.seed} must be a whole number, from 0 to below 2^63")
        wants_model = self.typicality or self.expectation or self.start != "input"
        _require(
            self.space == "diffusion" or not wants_model,
            "pixels have no noise: typicality, expectation and start need the diffusion space",
        )
        _require(self.iterations >= 0, f"iterations {self.iterations} must be 0 or more")
        is_rate = math.isfinite(self.learning_rate) and self.learning_rate > 0
        _require(is_rate, f"learning rate {self.learning_rate} must be positive")
        _require(0 <= self.momentum < 1, f"momentum {self.momentum} must lie in [0, 1)")
        if self.clip is not None:
            _require(self.clip > 0, f"clip {self.clip} must be positive or off")
            _require(
                self.optimizer != "lbfgs",
                f"clip {self.clip} cannot go with lbfgs, whose line search bounds its steps: leave "
                "it off",
            )
        if self.patience is not None:
            _require(self.patience >= 1, f"patience {self.patience} must be 1 or more, or off")
        if self.target_quality is not None:
            is_quality = 0 < self.target_quality <= 1
            _require(
                is_quality, f"target quality {self.target_quality} must lie in (0, 1], or be off"
            )

    @property
    def changes_nothing(self) -> bool:
        """Whether the input is the result, whatever it is."""
        return self.lam == 0 or (self.iterations == 0 and self.start == "input")


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise ValueError(complaint)


def _alternatives(choices: tuple[str, ...]) -> str:
    return f"{', '.join(choices[:-1])} or {choices[-1]}"


def describe_settings(settings: MapSettings) -> dict[str, Any]:
    """The settings as JSON types, for states and reports."""
    return {**asdict(settings), "inversion": describe_options(settings.inversion)}


_FEW_STEPS = MapSettings(
    InversionOptions(steps=4, bijection=EdictOptions(mixing=0.93)),
    lam=3.0,
    expectation=1.0,
    start="estimate",
    draws=4,
    optimizer="adam",
    momentum=0.5,
)
PRESETS = {
    # From the model's estimate a small ascent, as measured with the pocket networks on photographs
    # held out of their training (docs/measurements.md): three iterations at this rate better all
    # measures a little, ten or a larger rate spoil them. lambda is what it takes for a visibly
    # cleaner picture to count as better than the input: to take noise away costs Eq. (20) more than
    # its quality is worth at the paper's 0.01. Noise typicality changes nothing in so few steps.
    "fast": replace(_FEW_STEPS, iterations=3, learning_rate=0.002),
    # Half way to the estimate: for pictures that are good already, as behind a restorer.
    "gentle": replace(_FEW_STEPS, blend=0.5, draws=2, iterations=2, learning_rate=0.001),
    # Scores higher, and is less true: on those photographs it loses a fifth of the gain in PSNR.
    "strong": replace(_FEW_STEPS, iterations=3, learning_rate=0.005),
    # For distilled checkpoints, which take four steps (SD-Turbo, LCM, Hyper): the less noisy half
    # of them, so that a way makes four network calls. Calls are counted, and round trip and
    # gradient tested, on random weights; rate and lambda are guesses that no distilled checkpoint
    # and no photograph has judged.
    "turbo": MapSettings(
        InversionOptions(steps=4, strength=0.5, bijection=EdictOptions(mixing=0.93)),
        lam=0.1,
        iterations=6,
        optimizer="adam",
        learning_rate=0.005,
        momentum=0.5,
    ),
    # Section IV-A as printed. SGD's rate depends on the model's scale: the pocket backbone's
    # gradients are some 1e-8 a value at 192 x 96 pixels, and 2 moves next to nothing.
    "paper": MapSettings(),
    # Baselines: Eq. (1), Eq. (2), and latent optimisation without fidelity (Section IV-C).
    "pixel_ascent": MapSettings(
        space="pixel", use_fidelity=False, optimizer="adam", learning_rate=0.004
    ),
    "pixel_map": MapSettings(space="pixel", optimizer="adam", learning_rate=0.004),
    "no_fidelity": MapSettings(use_fidelity=False),
}
DEFAULT_PRESET = "fast"


def preset(name: str) -> MapSettings:
    """A preset by name. Raises ValueError, with the names there are, for an unknown one."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}: choose from {', '.join(PRESETS)}")
    return PRESETS[name]
