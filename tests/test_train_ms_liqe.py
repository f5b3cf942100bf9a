"""MS-LIQE's training: the paper's options, what is learnt, going on after an interruption."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from latent_map.__main__ import main
from latent_map.files.toml_files import parse_toml
from latent_map.iqa_priors.clip.liqe import (
    QUALITY_PROMPTS,
)
from latent_map.iqa_priors.clip.model import (
    initialise,
    load_clip,
)
from latent_map.iqa_priors.clip.ms_liqe import three_levels
from latent_map.iqa_priors.clip.tokens import tokenise
from latent_map.iqa_priors.loading import load_prior
from latent_map.iqa_priors.training.loop import Training
from latent_map.iqa_priors.training.ms_liqe import (
    MsLiqeOptions,
    cosine_rate,
    save_ms_liqe,
    train_ms_liqe,
)
from latent_map.iqa_priors.training.opinion_data import (
    Dataset,
    EpochBatches,
    load_batches,
    read_opinions,
)
from PIL import Image

from .clip_weights import CROP_SIDE, picture, small_clip

EXAMPLE = Path(__file__).parents[1] / "training" / "ms_liqe.toml"


@pytest.fixture(scope="module")
def initial(tmp_path_factory):
    path = tmp_path_factory.mktemp("initial") / "clip.safetensors"
    save_ms_liqe(path, small_clip(), {})
    return path


def resultant(embeddings):
    """Length of the mean of directions: 1 if all are the same, 0 if they cancel."""
    return (embeddings / embeddings.norm(dim=-1, keepdim=True)).mean(0).norm().item()


def test_a_clip_from_nothing_tells_texts_and_pictures_apart():
    tokens, pictures = tokenise(QUALITY_PROMPTS), torch.rand(8, 3, CROP_SIDE, CROP_SIDE)
    clip = small_clip()
    assert resultant(clip.encode_text(tokens)) > 0.9  # what the arguments are for
    initialise(clip, texts=tokens, pictures=pictures)
    assert resultant(clip.encode_text(tokens)) < 0.5
    assert resultant(clip.encode_image(pictures)) < 0.5


def test_the_defaults_are_the_papers():
    options = MsLiqeOptions()
    assert (options.epochs, options.rate, options.weight_decay) == (80, 5e-6, 1e-3)
    rate = cosine_rate(5e-6)
    assert [rate(p, 0) for p in (0, 0.5, 1)] == pytest.approx([5e-6, 2.5e-6, 0])
    assert rate(1 / 3, 0) == pytest.approx(3.75e-6)  # (1 + cos 60 degrees) / 2


def test_the_example_is_the_papers_mixture():
    config = parse_toml(EXAMPLE, "configuration", "restore it")
    assert [d["batch"] for d in config["datasets"]] == [4, 4, 4, 4, 16, 16]
    assert MsLiqeOptions(**config["training"]) == MsLiqeOptions(workers=4)


def grainy_dataset(folder, name, count, seed, scale=1.0):
    """Pictures of smooth blots with grain; the more of it, the lower the opinion."""
    rng = np.random.default_rng(seed)
    images, lines = folder / name, {"train": [], "validation": []}
    images.mkdir(parents=True)
    for number in range(count):
        blots = torch.from_numpy(rng.uniform(0.2, 0.8, (1, 3, 4, 4)))
        smooth = torch.nn.functional.interpolate(blots, size=(48, 44), mode="bicubic")
        amount = rng.uniform()
        grain = 0.25 * amount * rng.standard_normal((48, 44, 3))
        pixels = (smooth[0].permute(1, 2, 0).numpy() + grain).clip(0, 1)
        Image.fromarray((255 * pixels).astype(np.uint8)).save(images / f"{number}.png")
        part = "validation" if number % 3 == 0 else "train"
        lines[part].append(f"{number}.png\t{scale * (1 - amount):.4f}\tnoise\tinvalid")
    for part, found in lines.items():
        (folder / f"{name}_{part}.txt").write_text("\n".join(found) + "\n")
    return {"name": name, "images": name, "batch": 6} | {p: f"{name}_{p}.txt" for p in lines}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, initial):
    """A folder with two datasets on different scales, a small CLIP, and a configuration."""
    folder = tmp_path_factory.mktemp("workshop")
    sets = [grainy_dataset(folder, "five", 60, 1, 5), grainy_dataset(folder, "hundred", 60, 2, 100)]
    training = {"epochs": 2, "steps": 4, "rate": 1e-3, "crops": 2, "seed": 3}
    config = {"clip": str(initial), "out": "run", "training": training, "datasets": sets}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def with_config(workshop, out, **training):
    config = json.loads((workshop / "config.json").read_text())
    config |= {"out": out, "training": config["training"] | training}
    path = workshop / f"{out}.json"
    path.write_text(json.dumps(config))
    return path


def log_of(folder):
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


def test_training_learns_to_rank_pictures_it_has_not_seen(workshop, capsys):
    config = with_config(workshop, "learns", epochs=2, steps=25)
    assert main(["train-ms-liqe", str(config)]) == 0
    rows = log_of(workshop / "learns")
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert float(rows[0]["srcc"]) < 0.5  # random weights
    for name in ("srcc five", "srcc hundred", "plcc five", "plcc hundred"):
        assert float(rows[-1][name]) > 0.6, rows
    weights = workshop / "learns" / "ms_liqe.safetensors"
    assert str(weights) in capsys.readouterr().out
    prior = load_prior("ms_liqe", path=weights)
    smooth, grain = picture(64, 64) * 0 + 0.5, (0.5 + 0.2 * torch.randn(1, 3, 64, 64)).clamp(0, 1)
    assert prior(smooth) > prior(grain)


def write_photographs(folder):
    """Soft blots with a few edges, under the numbers of training and of held-out photographs."""
    folder.mkdir()
    rng = np.random.default_rng(5)
    for number in ("000", "001", "002", "003", "014", "027"):
        blots = torch.from_numpy(rng.uniform(0.1, 0.9, (1, 3, 6, 6)))
        smooth = torch.nn.functional.interpolate(blots, size=(144, 144), mode="bicubic")
        edges = smooth[0].permute(1, 2, 0).numpy().clip(0, 1)
        for _ in range(4):
            top, left = rng.integers(0, 110, 2)
            edges[top : top + 30, left : left + 30] = rng.uniform(0, 1, 3)
        Image.fromarray((255 * edges).astype(np.uint8)).save(folder / f"{number}_00.webp")
    return folder


def test_the_small_proof_learns_to_rank_photographs_it_has_not_seen(tmp_path):
    photos, out = write_photographs(tmp_path / "photos"), tmp_path / "out"
    few = ["--pictures", "100", "--draws", "4", "--kinds", "noise"]
    options = [*few, "--epochs", "1", "--steps", "80"]
    command = [sys.executable, "-m", "training.small_ms_liqe", str(photos), "--out", str(out)]
    found = subprocess.run(
        [*command, *options], check=False, cwd=EXAMPLE.parents[1], capture_output=True
    )
    assert found.returncode == 0, found.stderr.decode()
    rows = log_of(out / "run")
    assert abs(float(rows[0]["srcc noise"])) < 0.4, rows
    assert float(rows[-1]["srcc noise"]) > 0.7, rows
    assert f"srcc {rows[-1]['srcc']}" in found.stdout.decode()


def test_a_network_that_scores_all_pictures_alike_is_warned_of(workshop, initial, tmp_path, caplog):
    clip = load_clip(initial)
    torch.nn.init.zeros_(clip.visual.vision_model.embeddings.patch_embedding.weight)
    save_ms_liqe(tmp_path / "blind.safetensors", clip, {})
    config = json.loads((workshop / "config.json").read_text())
    config |= {"clip": str(tmp_path / "blind.safetensors"), "out": "blind"}
    config["training"] |= {"epochs": 1, "steps": 1, "rate": 0}
    (workshop / "blind.json").write_text(json.dumps(config))
    assert main(["train-ms-liqe", str(workshop / "blind.json")]) == 0
    assert "all 20 validation pictures of five score" in caplog.text
    assert float(log_of(workshop / "blind")[-1]["srcc"]) == 0


class StoppedError(Exception):
    """Stands for a power cut."""


def test_an_interrupted_training_ends_as_if_it_had_not_been(workshop, monkeypatch):
    straight, broken = (with_config(workshop, out) for out in ("straight", "broken"))
    assert main(["train-ms-liqe", str(straight)]) == 0
    advance = Training.advance

    def stop(self, losses, batch, rate):
        if self.step == 6:  # in the middle of the second epoch of four steps
            raise StoppedError
        advance(self, losses, batch, rate)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", stop)
        with pytest.raises(StoppedError):
            main(["train-ms-liqe", str(broken)])
    assert main(["train-ms-liqe", str(broken)]) == 0
    states = [
        torch.load(workshop / out / "checkpoint.pt", weights_only=True)["network"]
        for out in ("straight", "broken")
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert len(log_of(workshop / "broken")) == 3
    assert main(["train-ms-liqe", str(broken)]) == 0  # nothing is left to do
    assert len(log_of(workshop / "broken")) == 3


def test_both_towers_are_trained_and_the_temperature_is_not(workshop, initial):
    assert main(["train-ms-liqe", str(with_config(workshop, "towers", epochs=1))]) == 0
    before, after = load_clip(initial), load_clip(workshop / "towers" / "ms_liqe.safetensors")
    names = dict(before.named_parameters())
    moved = {n for n, p in after.named_parameters() if not torch.equal(p, names[n])}
    assert any(name.startswith("text.") for name in moved)
    assert any(name.startswith("visual.") for name in moved)
    assert "logit_scale" not in moved


def test_half_precision_trains_too(workshop):
    path = with_config(workshop, "half", epochs=1, steps=2, precision="bf16")
    assert main(["train-ms-liqe", str(path)]) == 0
    full = with_config(workshop, "full", epochs=1, steps=2)
    assert main(["train-ms-liqe", str(full)]) == 0
    losses = [float(log_of(workshop / out)[-1]["fidelity"]) for out in ("half", "full")]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1]


def test_an_epoch_goes_through_all_pictures_and_depends_on_its_seed_alone(workshop):
    opinions = read_opinions(workshop / "five_train.txt", workshop / "five")
    datasets = (Dataset("five", opinions, opinions, 10), Dataset("few", opinions[:4], opinions, 2))

    def epoch(seed):
        return EpochBatches(datasets, 4, three_levels(CROP_SIDE), 3, CROP_SIDE, (0, seed))

    first, again, other = list(load_batches(epoch(1), 0)), epoch(1), epoch(2)
    assert first[0].crops.shape == (12, 3, 3, CROP_SIDE, CROP_SIDE)
    assert list(first[0].counts) == [10, 2]
    seen = torch.cat([batch.opinions[:10] for batch in first]).tolist()
    assert sorted(seen) == pytest.approx(sorted(o.score for o in opinions))
    assert torch.equal(first[2].crops, again[2].crops)
    assert not torch.equal(first[2].opinions, other[2].opinions)
    (resumed, *_) = load_batches(epoch(1), 0, start=2)
    assert torch.equal(first[2].crops, resumed.crops)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"training": {"epoch": 3}}, "does not know epoch"),
        ({"training": {"epochs": 0}}, "epochs is 0 and should be a whole number from 1"),
        ({"training": {"precision": "int8"}}, "precision is 'int8' and should be auto or fp32"),
        ({"datasets": []}, "needs datasets"),
        ({"datasets": [{"name": "x"}]}, "lacks batch, images"),
        ({"batch": 500}, "must be from 2 to its 40 pictures"),
        ({"clip": "gone.safetensors"}, "no CLIP checkpoint at"),
        ({"optimizer": "sgd"}, "does not know optimizer"),
        ({"training": {"steps": 1.5}}, "steps is 1.5 and should be a whole number"),
        ({"training": {"epochs": float("nan")}}, "epochs is nan"),
        ({"training": {"seed": -1}}, "seed is -1"),
        ({"training": {"tensorboard": {"a": 1}}}, "tensorboard is"),
        ({"training": 7}, "training is 7 and should be an object"),
        ({"clip": None}, "clip is None and should be a text"),
        ({"out": ""}, "out is ''"),
        ({"out": "/proc/nope"}, "/proc/nope cannot be the folder of a training"),
        ({"datasets": "x"}, "datasets is 'x' and should be a list"),
        ({"datasets": [1]}, "datasets is [1]"),
        ({"batch": 2.5}, "batch is 2.5 and should be a whole number"),
        ({"batch": 6, "falling": "false"}, "falling is 'false' and should be true or false"),
        ({"batch": 6, "validation": []}, "validation is []"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(workshop, capsys, change, words):
    config = json.loads((workshop / "config.json").read_text())
    if "batch" in change:
        config["datasets"][0] |= change
    else:
        config |= change
    (workshop / "wrong.json").write_text(json.dumps(config))
    assert main(["train-ms-liqe", str(workshop / "wrong.json")]) == 2
    assert words in capsys.readouterr().err


def test_toml_says_the_same_as_json(workshop, capsys):
    lines = ['clip = "gone.safetensors"', 'out = "run"', "[training]", "epochs = 1"]
    for name in ("five", "hundred"):
        paths = [f'{p} = "{name}_{p}.txt"' for p in ("train", "validation")]
        lines += ["[[datasets]]", f'name = "{name}"', f'images = "{name}"', *paths, "batch = 2"]
    (workshop / "it.toml").write_text("\n".join(lines))
    assert main(["train-ms-liqe", str(workshop / "it.toml")]) == 2
    assert "no CLIP checkpoint at" in capsys.readouterr().err


def test_another_networks_checkpoint_is_not_gone_on_from(workshop, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"damaged")
    datasets = tuple(
        Dataset(n, *(read_opinions(workshop / f"{n}_{p}.txt", workshop / n) for p in parts), 2)
        for n, parts in {"five": ("train", "validation")}.items()
    )
    config = json.loads((workshop / "config.json").read_text())
    with pytest.raises(ValueError, match="delete it to start anew"):
        train_ms_liqe(Path(config["clip"]), datasets, tmp_path, MsLiqeOptions())
