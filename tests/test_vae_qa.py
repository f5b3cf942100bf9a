"""VAE features and the VAE-QA-style head, on a tiny random AutoencoderKL."""

import csv

import pytest
import torch
from latent_map.fidelity.loading import load_fidelity
from latent_map.fidelity.vae_features import SD_CONFIG, VaeEncoder, VaeFeatures, load_vae_encoder
from latent_map.fidelity.vae_qa import (
    VaeQa,
    VaeQaHead,
    VaeQaOptions,
    even_crops,
    load_vae_qa,
    save_head,
)
from latent_map.files.pictures import Picture, write_picture

from training.train_vae_qa import Training, evaluate, read_pairs, train

from .toys import picture

diffusers = pytest.importorskip("diffusers")
TINY = {**SD_CONFIG, "block_out_channels": (8, 8, 16, 16), "layers_per_block": 1}
TINY |= {"norm_num_groups": 4}
SMALL = VaeQaOptions(8, 4, 8, 4, (16, 8), 4, 40)
DIFFERENCE_STEP = 1e-5
DIFFERENCE_TOLERANCE = 0.01
LEARNING_STEPS = 60


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return diffusers.AutoencoderKL(**TINY)


def test_maps_are_the_encoders_own(vae):
    x = picture(0, 32, 24, batch=2)
    with torch.no_grad():
        maps = VaeEncoder(vae)(x)
        moments = vae.encode(2 * x - 1).latent_dist.parameters
    assert [m.shape[1] for m in maps] == [8, 8, 8, 16, 16, 16, 8]
    assert torch.allclose(maps[-1], moments, atol=1e-6)


def test_feature_distance_is_zero_at_equality_per_item_and_differentiable(vae):
    fidelity = VaeFeatures(VaeEncoder(vae))
    a, b = picture(0, 24, 32, batch=2), picture(1, 24, 32, batch=2)
    assert fidelity(a, a.clone()).tolist() == [0.0, 0.0]
    together = fidelity(a, b)
    singles = [float(fidelity(a[i : i + 1], b[i : i + 1])) for i in range(2)]
    assert together.tolist() == pytest.approx(singles, rel=1e-4)
    assert 0 < together.min() <= together.max() < 4
    for noise in (0.0, 1e-6, 0.1):
        moving = (a + noise * (b - a)).requires_grad_(True)
        (gradient,) = torch.autograd.grad(fidelity(moving, a).sum(), moving)
        assert torch.isfinite(gradient).all()
    with pytest.raises(ValueError, match="too small"):
        fidelity(a[..., :8, :8], b[..., :8, :8])


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    fidelity = VaeFeatures(VaeEncoder(diffusers.AutoencoderKL(**TINY).double()))
    reference, moving = picture(0).double(), picture(1).double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(fidelity(moving, reference).sum(), moving)
    direction = gradient / gradient.square().mean().sqrt()
    step = DIFFERENCE_STEP * direction
    with torch.no_grad():
        rise = float(fidelity(moving + step, reference) - fidelity(moving - step, reference))
    expected = 2 * DIFFERENCE_STEP * float((gradient * direction).sum())
    assert rise == pytest.approx(expected, rel=DIFFERENCE_TOLERANCE)


def test_folders_of_a_vae_and_of_a_pipeline_are_read(vae, tmp_path):
    vae.save_pretrained(tmp_path / "pipeline" / "vae")
    a, b = picture(0, 32, 32), picture(1, 32, 32)
    wanted = VaeFeatures(VaeEncoder(vae))(a, b)
    for folder in (tmp_path / "pipeline", tmp_path / "pipeline" / "vae"):
        loaded = load_fidelity("vae_features", path=folder)
        assert torch.equal(loaded(a, b), wanted)
        assert " of " in loaded.identity
    with pytest.raises(ValueError, match="needs the file vae-ft-mse"):
        load_fidelity("vae_features", path=tmp_path)


def test_a_file_of_another_architecture_is_refused(vae, tmp_path):
    from safetensors.torch import save_file

    file = tmp_path / "tiny.safetensors"
    save_file({k: v.contiguous() for k, v in vae.state_dict().items()}, file)
    with pytest.raises(ValueError, match="is not Stable Diffusion's VAE"):
        load_vae_encoder(file)


def test_the_head_on_stable_diffusions_vae_has_about_the_published_size():
    with torch.device("meta"):
        head = VaeQaHead((128, 128, 256, 512, 512, 512, 8), VaeQaOptions())
    count = sum(p.numel() for p in head.parameters())
    assert 13.5e6 < count < 15e6  # the paper's table: 14.4 million


def test_crops_cover_every_pixel():
    for height, width in ((256, 256), (300, 700), (100, 257)):
        seen = torch.zeros(height, width)
        for rows, columns in even_crops(height, width, 256):
            seen[rows, columns] += 1
        assert seen.min() >= 1


def write_list(folder, name, seeds):
    """Noisy pictures whose opinion falls with the noise."""
    with (folder / name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("reference", "distorted", "mos"))
        for seed in seeds:
            reference = picture(seed, 40, 40)
            level = 0.25 * ((seed * 7) % 8) / 7
            generator = torch.Generator().manual_seed(seed)
            noisy = reference + level * torch.randn(reference.shape, generator=generator)
            names = (f"{seed}r.png", f"{seed}d.png")
            for file_name, image in zip(names, (reference, noisy.clamp(0, 1)), strict=True):
                write_picture(folder / file_name, Picture(image))
            writer.writerow((*names, 5 - 16 * level))
    return folder / name


def noisy_features(encoder, seeds):
    """Maps of references and of noisy copies, and qualities that fall with the noise."""
    references = [picture(seed, 32, 32) for seed in seeds]
    levels = [0.25 * ((seed * 7) % 8) / 7 for seed in seeds]
    noise = torch.randn(len(levels), 3, 32, 32, generator=torch.Generator().manual_seed(1))
    reference = torch.cat(references)
    distorted = (reference + torch.tensor(levels)[:, None, None, None] * noise).clamp(0, 1)
    with torch.no_grad():
        return encoder(reference), encoder(distorted), 1 - 4 * torch.tensor(levels)


def test_the_head_can_learn_qualities_by_heart(vae):
    """Its gradients reach every part; nothing general can be learned from a random encoder."""
    torch.manual_seed(0)
    encoder = VaeEncoder(vae)
    reference, distorted, wanted = noisy_features(encoder, range(16))
    head = VaeQaHead(encoder.channels, SMALL)
    optimizer = torch.optim.AdamW(head.parameters(), lr=5e-3)
    losses = []
    for _ in range(LEARNING_STEPS):
        loss = (head(reference, distorted) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_a_saved_head_is_loaded_with_its_vae(vae, tmp_path):
    torch.manual_seed(1)
    encoder = VaeEncoder(vae)
    head = VaeQaHead(encoder.channels, SMALL)
    vae.save_pretrained(tmp_path / "vae")
    save_head(tmp_path / "head.safetensors", head, encoder.channels, {"srcc": 0.9})
    loaded = load_vae_qa(tmp_path / "head.safetensors", tmp_path / "vae")
    a, b = picture(0, 40, 56), picture(1, 40, 56)
    assert float(loaded(a, a.clone())) == 0
    assert float(loaded(a, b)) == pytest.approx(float(VaeQa(encoder, head)(a, b)), rel=1e-5)
    torch.manual_seed(2)
    wider = diffusers.AutoencoderKL(**{**TINY, "block_out_channels": (16, 8, 16, 16)})
    wider.save_pretrained(tmp_path / "wider")
    with pytest.raises(ValueError, match="give the VAE it was trained with"):
        load_vae_qa(tmp_path / "head.safetensors", tmp_path / "wider")


def test_an_interrupted_training_ends_as_the_whole_one(vae, tmp_path):
    pairs = read_pairs(write_list(tmp_path, "train.csv", range(6)), 1, 5)
    training, encoder = Training(epochs=3, batch=3), VaeEncoder(vae)
    head, losses = train(pairs, encoder, SMALL, training, tmp_path / "whole.state")
    state, calls = tmp_path / "cut.state", []

    class Interrupted(VaeEncoder):
        def __call__(self, x):
            calls.append(1)
            if len(calls) == 8:  # one for the channels, four an epoch: in the second
                raise KeyboardInterrupt
            return super().__call__(x)

    with pytest.raises(KeyboardInterrupt):
        train(pairs, Interrupted(vae), SMALL, training, state)
    resumed, again = train(pairs, encoder, SMALL, training, state)
    assert len(again) == 3
    assert again == losses
    srcc, plcc = evaluate(pairs, encoder, head)
    assert -1 <= srcc <= 1
    assert -1 <= plcc <= 1
    for a, b in zip(head.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="another run"):
        train(pairs, encoder, SMALL, Training(epochs=4), state)


def test_an_untrained_head_is_not_offered_and_other_files_are_refused(vae, tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(ValueError, match=r"not offered: .*train_vae_qa"):
        load_fidelity("vae_qa")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="is no VAE-QA head"):
        load_vae_qa(tmp_path / "other.safetensors", tmp_path)
    with pytest.raises(ValueError, match="no trained VAE-QA head"):
        load_vae_qa(tmp_path / "missing.safetensors", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reference,distorted,mos\nr.png,d.png,7\n", "outside --mos-range"),
        ("reference,distorted,mos\nr.png,d.png,x\n", "line 2"),
        ("a,b\nr.png,d.png\n", "the columns are"),
        ("reference,distorted,mos\nr.png,d.png,3\n", "no picture"),
        ("reference,distorted,mos\n", "has no pairs"),
    ],
)
def test_wrong_lists_are_refused_by_line(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_pairs(tmp_path / "list.csv", 1, 5)
