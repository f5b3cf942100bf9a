"""Damage files of every kind that is read, at random, and count what is not told in one line.

    python -m benchmarks.fuzz_files                          2,000 files, seed 0
    python -m benchmarks.fuzz_files 20000 --seed 7
    python -m benchmarks.fuzz_files --only pickle --keep bad/    keep those that were not handled
    python -m benchmarks.fuzz_files --write docs/fuzzing.md

A file is handled if it is used, or refused in one line that names it or its folder, within 2 s of
the processor and 200 MB above what was in use. The same seed damages the same files.
"""

import argparse
import json
import random
import re
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.fuzz_damage import Kind, damaged
from benchmarks.fuzz_study import study_kinds

SECONDS, MEGABYTES = 2.0, 200.0


class Outcome(NamedTuple):
    """What came of one damaged file: "used", "told", or what went wrong."""

    word: str
    seconds: float
    megabytes: float


def kinds(work: Path) -> dict[str, Kind]:
    """Small whole files of every kind, made in a folder; all of them can be used."""
    torch.manual_seed(0)
    made = {
        **_checkpoints(work / "checkpoints"),
        **_plain(work / "plain"),
        **study_kinds(work / "study"),
    }
    for name, kind in made.items():
        try:
            kind.use()
        except ValueError as error:
            raise RuntimeError(f"the whole files of {name} cannot be used: {error}") from error
    return made


def _checkpoints(work: Path) -> dict[str, Kind]:
    """Those of Stable Diffusion."""
    from latent_map.edict.backbones.stable_diffusion.backbone import find_diffusers
    from latent_map.edict.backbones.stable_diffusion.options import DiffusersOptions
    from latent_map.edict.backbones.stable_diffusion.schedule import noise_levels
    from latent_map.edict.backbones.stable_diffusion.text import tokenise
    from latent_map.edict.backbones.stable_diffusion.tokenizer import numbers_of
    from latent_map.fidelity.vae_features import load_vae_encoder
    from latent_map.files.config_rules import UNET
    from latent_map.files.network_folder import find_part
    from transformers import CLIPTokenizer

    from tests import tiny_diffusers as tiny

    folder = tiny.write_folder(work / "folder", tiny.SD15)
    vae = Path(shutil.copytree(folder / "vae", work / "vae"))
    control = tiny.write_controlnet(work / "control", tiny.SD15)
    tokenizer, words, shards = work / "tokenizer", work / "words", work / "shards"
    vocabulary = tiny.write_tokenizer(tokenizer)
    CLIPTokenizer.from_pretrained(tokenizer).save_pretrained(words)
    single = tiny.write_single_file(work / "one.safetensors", tiny.SD15, vocabulary)
    shards.mkdir()
    shutil.copy(folder / "unet" / "config.json", shards)
    weights = "diffusion_pytorch_model.safetensors"
    shutil.copy(folder / "unet" / weights, shards / "a.safetensors")
    index = {"weight_map": dict.fromkeys(("conv_in.weight", "conv_in.bias"), "a.safetensors")}
    (shards / f"{weights}.index.json").write_text(json.dumps(index))
    configs = [str(p.relative_to(folder)) for p in sorted(folder.glob("**/*.json"))]
    configs = [name for name in configs if "tokenizer" not in name]

    def checkpoint(path: Path, prompt: str = "", **options: Any) -> object:
        assembly = find_diffusers(DiffusersOptions(str(path), **options))
        noise_levels(assembly.base.scheduler, path)
        return [tokenise(text, [prompt]) for text in assembly.base.text]

    def tokens(place: Path) -> Kind:
        files = sorted(p.name for p in place.iterdir())
        return Kind(place, files, lambda: numbers_of(place, ["a photo"], 77, vocabulary))

    return {
        "checkpoint configuration": Kind(folder, configs, lambda: checkpoint(folder, "a photo")),
        "VAE configuration": Kind(vae, ["config.json"], lambda: load_vae_encoder(vae)),
        "ControlNet configuration": Kind(
            control, ["config.json"], lambda: checkpoint(folder, controlnet=str(control))
        ),
        "single-file checkpoint": Kind(work, [single.name], lambda: checkpoint(single)),
        "tokenizer": tokens(tokenizer),
        "tokenizer.json": tokens(words),
        "index of weights": Kind(
            shards,
            [f"{weights}.index.json"],
            lambda: find_part(shards, torch.float32, ["UNet2DConditionModel"], UNET),
        ),
    }


def _plain(folder: Path) -> dict[str, Kind]:
    """Tensors, states, calibrations and lists."""
    from latent_map.files.pickles import read_pickle, tree_tensors
    from latent_map.files.state_file import load_state, save_state
    from latent_map.files.weights import find_tensors, read_weights
    from latent_map.iqa_priors.arniqa import read_linear
    from latent_map.iqa_priors.loading import load_prior
    from latent_map.iqa_priors.training.opinion_data import read_opinions
    from safetensors.torch import save_file

    folder.mkdir()
    tensors = {"a.weight": torch.randn(8, 8), "a.bias": torch.randn(8)}
    save_file(tensors, folder / "a.safetensors", {"modelspec.prediction_type": "v"})
    nested = {"state_dict": tensors, "epoch": 3, "names": ["x", None]}
    torch.save(nested, folder / "new.pth")
    old = folder / "old.pth"
    torch.save(nested, old, _use_new_zipfile_serialization=False)
    # Its keys are addresses in memory, other ones each time.
    keys = dict.fromkeys(re.findall(rb"\d{12,}", old.read_bytes()))
    for number, key in enumerate(keys):
        old.write_bytes(old.read_bytes().replace(key, b"%0*d" % (len(key), number + 1)))
    torch.jit.script(torch.nn.Linear(8, 1)).save(folder / "program.pth")
    save_state(folder / "a.state", "a test", tensors, {"options": {"steps": 6}})
    calibration = {"prior": "niqe", "xi3": 5.0, "xi4": -1.0, "lower_better": True}
    (folder / "calibration.json").write_text(json.dumps(calibration))
    (folder / "list.txt").write_text("list.txt\t3.5\nlist.txt\t1\tblur\n")
    uses: dict[str, tuple[str, Callable[[Path], object]]] = {
        "safetensors": ("a.safetensors", lambda p: read_weights(find_tensors(p, "weights"))),
        "pickle": ("new.pth", lambda p: read_weights(find_tensors(p, "weights"))),
        "pickle before PyTorch 1.6": ("old.pth", lambda p: tree_tensors(read_pickle(p, "weights"))),
        "TorchScript program": ("program.pth", lambda p: read_linear(p, 8)),
        "state": ("a.state", lambda p: load_state(p, "a test")),
        "calibration": ("calibration.json", lambda p: load_prior("niqe", calibration=p)),
        "list of opinions": ("list.txt", lambda p: read_opinions(p, folder)),
    }
    return {
        name: Kind(folder, [file], lambda use=use, file=file: use(folder / file))
        for name, (file, use) in uses.items()
    }


# How many of each, of 125: those that build networks take longest.
SHARES = {
    "checkpoint configuration": 9,
    "VAE configuration": 6,
    "ControlNet configuration": 3,
    "single-file checkpoint": 3,
    "tokenizer": 6,
    "tokenizer.json": 6,
    "index of weights": 9,
    "safetensors": 12,
    "pickle": 12,
    "pickle before PyTorch 1.6": 10,
    "TorchScript program": 10,
    "state": 6,
    "calibration": 5,
    "list of opinions": 3,
    "study file": 4,
    "pairs of a study": 2,
    "record of a selection": 4,
    "record of a session": 6,
    "trials of a session": 3,
    "screens of a session": 3,
    "votes": 3,
}


def outcome(use: Callable[[], object], folder: Path) -> Outcome:
    """Use a file, and see what is told, how long it takes, and how much memory."""
    before = _resident()
    _forget_peak()
    begin, word = time.process_time(), "used"
    try:
        use()
    except (ValueError, OSError) as error:
        text = str(error)
        plain = "\n" not in text and len(text) < 1000 and str(folder) in text
        word = (
            "told" if plain else f"not one line with its name: {type(error).__name__} {text[:90]}"
        )
    except BaseException as error:  # panics of compiled libraries are no Exceptions
        if isinstance(error, KeyboardInterrupt):
            raise
        word = f"{type(error).__name__} {str(error)[:90]}"
    seconds, more = time.process_time() - begin, _peak() - before
    if word in ("used", "told") and (seconds > SECONDS or more > MEGABYTES):
        word = f"{word}, after {seconds:.1f} s with {more:.0f} MB"
    return Outcome(word, seconds, more)


def _resident() -> float:
    status = Path("/proc/self/statm")
    pages = int(status.read_text().split()[1]) if status.exists() else 0
    return pages * resource.getpagesize() / 1e6


def _forget_peak() -> None:
    place = Path("/proc/self/clear_refs")
    if place.exists():
        place.write_text("5")


def _peak() -> float:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peaks = [int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")]
    return peaks[0] if peaks else _resident()


class Count(NamedTuple):
    """What came of a kind's files."""

    tried: int
    used: int
    told: int
    unhandled: list[str]
    seconds: float  # of the slowest
    megabytes: float  # of the largest


def fuzz(count: int, seed: int, only: str = "", keep: Path | None = None) -> dict[str, Count]:
    """Damage and use files; the same numbers and seed give the same files.

    Args:
        count: files in all.
        seed: of the damage.
        only: kinds whose names contain this.
        keep: folder that those not handled are written to.
    """
    counts = {}
    with tempfile.TemporaryDirectory() as place:
        made = kinds(Path(place))
        chosen = {name: made[name] for name in SHARES if only in name}
        total = sum(SHARES[name] for name in chosen)
        for name, kind in chosen.items():
            rng = random.Random(f"{seed} {name}")
            found = []
            for number in range(max(1, round(count * SHARES[name] / total))):
                found.append(_once(kind, rng))
                if keep and found[-1][0].word not in ("used", "told"):
                    keep.mkdir(parents=True, exist_ok=True)
                    stem = name.replace(" ", "_").replace(".", "_")
                    (keep / f"{stem}_{seed}_{number}").write_bytes(found[-1][1])
            words = Counter(each.word for each, _ in found)
            counts[name] = Count(
                len(found),
                words.pop("used", 0),
                words.pop("told", 0),
                sorted(words.elements()),
                max(each.seconds for each, _ in found),
                max(each.megabytes for each, _ in found),
            )
    return counts


def _once(kind: Kind, rng: random.Random) -> tuple[Outcome, bytes]:
    file = kind.folder / rng.choice(kind.files)
    whole = file.read_bytes()
    content = damaged(whole, file.name, rng)
    file.write_bytes(content)
    try:
        return outcome(kind.use, kind.folder), content
    finally:
        file.write_bytes(whole)


def table(counts: dict[str, Count]) -> str:
    """The counts as a table in Markdown."""
    rows = ["| kind | tried | used | told in one line | unhandled | slowest | most memory |"]
    rows.append("|---|---|---|---|---|---|---|")
    for name, c in counts.items():
        rows.append(
            f"| {name} | {c.tried} | {c.used} | {c.told} | {len(c.unhandled)} | "
            f"{c.seconds:.2f} s | {c.megabytes:.0f} MB |"
        )
    parts = ((c.tried, c.used, c.told) for c in counts.values())
    sums = [sum(column) for column in zip(*parts, strict=True)]
    bad = sum(len(c.unhandled) for c in counts.values())
    slowest = max(c.seconds for c in counts.values())
    most = max(c.megabytes for c in counts.values())
    rows.append(
        f"| all | {sums[0]} | {sums[1]} | {sums[2]} | {bad} | {slowest:.2f} s | {most:.0f} MB |"
    )
    return "\n".join(rows)


def main() -> int:
    """Fuzz and print the table.

    Returns: 0 if everything was handled, else 1.
    """
    parser = argparse.ArgumentParser(prog="fuzz_files", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("count", type=int, nargs="?", default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds whose names contain this")
    parser.add_argument("--keep", type=Path, help="folder for the files that were not handled")
    parser.add_argument("--write", type=Path, help="Markdown file for the result")
    given = parser.parse_args()
    begin = time.monotonic()
    counts = fuzz(given.count, given.seed, given.only, given.keep)
    result = table(counts)
    print(result, f"{time.monotonic() - begin:.0f} s", sep="\n\n")
    for name, count in counts.items():
        for word in count.unhandled:
            print(f"{name}: {word}", file=sys.stderr)
    if given.write:
        command = f"`python -m benchmarks.fuzz_files {given.count} --seed {given.seed}`"
        text = f"# Damaged files\n\n{command}:\n\n{result}\n\nHandled means: {HANDLED}\n"
        given.write.write_text(text)
    return int(any(count.unhandled for count in counts.values()))


HANDLED = (
    f"used, or refused in one line that names the file or its folder, within {SECONDS:g} s of the "
    f"processor and {MEGABYTES:g} MB above what was in use."
)

if __name__ == "__main__":
    sys.exit(main())
