import os
from pathlib import Path

import pytest
import torch
from latent_map.__main__ import main
from latent_map.edict.backbones.seesr.dape import (
    MERGED,
    add_low_rank,
    convert,
    find_encoder,
    geometry_of,
    load_image_encoder,
)
from latent_map.edict.backbones.seesr.ram import (
    SWIN_L,
    ImageEncoder,
    SwinGeometry,
    image_tokens,
    prepare,
)
from safetensors.torch import load_file, save_file

from .tiny_seesr import write_pickles

DATA = Path(__file__).parent / "data" / "ram_golden"
RAM, DAPE = DATA / "tiny_ram.fp16.safetensors", DATA / "tiny_dape.fp16.safetensors"
TINY = SwinGeometry(side=96, window=3, width=16, depths=(2, 2, 2, 2), heads=(1, 2, 4, 8))

GOLDEN = 1e-5  # two float32 programs of the same sums, values up to 6
TOLD_APART = 0.1  # relative; 0.56 between the tokens with and without DAPE
PARAMETERS, KEYS = 195_985_460, 329  # of SeeSR's own swin-L, its buffers and additions not counted


@pytest.fixture(scope="module")
def golden():
    return load_file(DATA / "io.safetensors")


@pytest.fixture(scope="module")
def encoder():
    return load(DAPE, RAM)


@pytest.fixture
def pickles(tmp_path):
    """The two files as their authors store them."""
    return write_pickles(tmp_path)


def load(dape, ram=None):
    return load_image_encoder(find_encoder(dape, ram))


def distance(ours, theirs):
    return float((ours - theirs).abs().max())


def relative(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def test_tokens_are_those_of_seesrs_own_encoder(encoder, golden):
    with torch.no_grad():
        assert distance(encoder(golden["image"]), golden["tokens_dape"]) < GOLDEN


def test_a_picture_of_any_shape_is_prepared_as_seesr_does(encoder, golden):
    assert distance(prepare(golden["picture"], TINY.side), golden["prepared"]) < GOLDEN
    tokens = image_tokens(encoder, golden["picture"])
    assert distance(tokens, golden["picture_tokens"]) < GOLDEN
    assert tokens.shape == (1, TINY.tokens, 512)


def test_without_dapes_additions_the_tokens_are_rams(golden, tmp_path):
    nothing = {k: torch.zeros_like(v) for k, v in load_file(DAPE).items()}
    save_file(nothing, tmp_path / "nothing.safetensors")
    plain = load(tmp_path / "nothing.safetensors", RAM)
    with torch.no_grad():
        tokens = plain(golden["image"])
    assert distance(tokens, golden["tokens_ram"]) < GOLDEN
    assert relative(tokens, golden["tokens_dape"]) > TOLD_APART


def test_low_rank_additions_worked_by_hand():
    down, up = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0], [6.0], [7.0], [8.0]])
    wanted = [[6, 10], [6, 13], [1, 0], [0, 1], [22, 28], [24, 33]]
    weight = torch.eye(2).repeat(3, 1)
    assert add_low_rank(weight, down, up).tolist() == wanted
    twice = add_low_rank(weight, down.repeat_interleave(2, 0), up.repeat(1, 2))
    assert twice.tolist() == wanted  # alpha is 1, so the sum over the rank is a mean


def test_the_encoder_is_frozen_and_has_rams_size(encoder):
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    with torch.device("meta"):
        full = ImageEncoder()
    assert sum(parameter.numel() for parameter in full.parameters()) == PARAMETERS
    assert len(full.state_dict()) == KEYS
    assert SWIN_L.tokens == 145
    assert SWIN_L.features == 1536


def test_the_authors_pickles_are_read(pickles, encoder, golden):
    ram, dape = pickles
    ours = load(dape, ram)
    assert relative(image_tokens(ours, golden["picture"]), golden["picture_tokens"]) < GOLDEN


def test_a_converted_file_is_the_whole_encoder(pickles, encoder, tmp_path):
    out = tmp_path / "dape.safetensors"
    assert convert(*pickles, out) == len(encoder.state_dict())
    ours = load(out)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor)
    assert sorted(tmp_path.iterdir()) == sorted([*pickles, out])


def refused(words, *arguments, function=load):
    with pytest.raises(ValueError, match=words) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_additions_alone_are_not_enough(pickles, tmp_path):
    ram, dape = pickles
    refused(r"DAPE\.pth holds additions.*give ram_swin_large_14m\.pth too", dape)
    refused(r"holds no DAPE.*give SeeSR's DAPE\.pth", ram, ram)
    refused(r"no DAPE weights at .*missing\.pth", tmp_path / "missing.pth", ram)
    refused(r"no RAM weights at .*missing\.pth", dape, tmp_path / "missing.pth")


def test_files_in_each_others_place_are_named(pickles):
    ram, dape = pickles
    refused("holds no RAM|holds no DAPE", ram, dape)
    refused("holds no RAM|does not fit RAM", dape, dape)


def test_ram_plus_is_told_from_ram(pickles):
    ram, dape = pickles
    torch.save({"model": load_file(RAM) | {"label_embed": torch.zeros(233835, 1)}}, ram)
    refused(r"233835 descriptions.*RAM\+\+", dape, ram)


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("which", [0, 1])
def test_truncated_pickles_are_named(pickles, share, which):
    path = pickles[which]
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(rf"{path.name}.*(damaged|no usable).*fetch it again", pickles[1], pickles[0])


class Harmful:
    def __reduce__(self):
        return (os.mkdir, ("harmful",))


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(pickles, tmp_path, monkeypatch):
    ram, dape = pickles
    monkeypatch.chdir(tmp_path)
    torch.save({"model": load_file(RAM), "config": Harmful()}, ram)
    refused(r"ram_swin_large_14m\.pth .*more than weights \(\w+\.mkdir\)", dape, ram)
    assert not (tmp_path / "harmful").exists()


def changed(path, source, **changes):
    tensors = load_file(source) | {k.replace("__", "."): v for k, v in changes.items()}
    save_file({k: v for k, v in tensors.items() if v is not None}, path)
    return path


QKV = "visual_encoder__layers__0__blocks__0__attn__qkv__"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({QKV + "lora_A": None}, "lora_A is missing"),
        ({QKV + "lora_A": torch.zeros(16, 8)}, r"\(16, 8\)"),
        ({QKV + "lora_B": torch.full((32, 8), torch.nan)}, "NaN"),
        ({"visual_encoder__layers__9__lora_A": torch.zeros(1)}, "no place"),
    ],
)
def test_additions_that_do_not_fit_are_named(tmp_path, changes, words):
    path = changed(tmp_path / "odd.safetensors", DAPE, **changes)
    refused(rf"odd\.safetensors.*{words}", path, RAM)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_proj__weight": None}, "image_proj.weight is missing"),
        ({"image_proj__bias": torch.zeros(9)}, r"\(9,\)"),
        ({"visual_encoder__extra": torch.zeros(9)}, "not part of it"),
        ({"visual_encoder__patch_embed__proj__weight": None}, "no Swin"),
        ({"visual_encoder__norm__bias": torch.full((128,), torch.inf)}, "NaN or infinite"),
    ],
)
def test_an_encoder_that_does_not_fit_is_named(tmp_path, changes, words):
    path = changed(tmp_path / "odd.safetensors", RAM, **changes)
    refused(rf"odd\.safetensors.*{words}", DAPE, path)


def test_sizes_are_read_off_the_shapes(encoder):
    assert geometry_of(find_encoder(DAPE, RAM)) == encoder.geometry == TINY


def test_a_failed_conversion_leaves_nothing_behind(pickles, tmp_path):
    ram, dape = pickles
    refused("no name for", ram, dape, tmp_path / "out.pth", function=convert)
    refused("holds no", dape, ram, tmp_path / "out.safetensors", function=convert)
    assert sorted(tmp_path.iterdir()) == sorted(pickles)


def test_ram_alone_is_not_taken_for_the_converted_file():
    refused("holds no DAPE", RAM)
    assert not any(name.startswith(MERGED) for name in find_encoder(DAPE, RAM))


def command(capsys, *arguments):
    code = main(["convert-dape", *map(str, arguments)])
    return code, capsys.readouterr()


def test_the_command_converts(pickles, capsys, tmp_path, golden):
    out = tmp_path / "dape.safetensors"
    code, printed = command(capsys, *pickles, "-o", out)
    assert code == 0
    assert str(out) in printed.out
    tokens = image_tokens(load(out), golden["picture"])
    assert relative(tokens, golden["picture_tokens"]) < GOLDEN


def test_the_command_overwrites_nothing_and_explains(pickles, capsys, tmp_path):
    ram, dape = pickles
    code, printed = command(capsys, ram, dape, "-o", tmp_path / "no" / "x.safetensors")
    assert (code, printed.err.count("\n")) == (2, 1)
    assert "make it first" in printed.err
    (tmp_path / "out.safetensors").write_bytes(b"mine")
    code, printed = command(capsys, ram, dape, "-o", tmp_path / "out.safetensors")
    assert (code, printed.err.count("\n")) == (2, 1)
    assert (tmp_path / "out.safetensors").read_bytes() == b"mine"
    code, printed = command(capsys, dape, ram, "-o", tmp_path / "new.safetensors")
    assert (code, printed.err.count("\n")) == (2, 1)
    assert "holds no DAPE" in printed.err
