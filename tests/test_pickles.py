"""PyTorch's pickles, read without running anything or believing any size."""

import os
import pickle
import re
import zipfile
from pathlib import Path

import pytest
import torch
from latent_map.files import pickles
from latent_map.files.weights import find_tensors, read_weights
from latent_map.iqa_priors.arniqa import read_linear

from .told import told


class Asks:
    """Pickles as a call of a name with arguments."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


BOMBS = {
    "a byte array": Asks(bytearray, 1 << 40),
    "a call": Asks(os.putenv, "A", "B"),
    "an import": Asks(__import__, "antigravity"),
    "a list": [1, 2],
    "nothing": None,
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_asks_for_more_than_weights_is_refused(tmp_path, content, legacy):
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    told(lambda: find_tensors(path, "checkpoint"), "a.pth")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_pickle_is_read_as_pytorch_reads_it(tmp_path, legacy, dtype):
    path = tmp_path / "a.pth"
    joint = torch.randn(6, 5).to(dtype)
    content = {
        "state_dict": {
            "turned": joint.T,
            "part": joint[2:4, 1:3],
            "whole": torch.nn.Parameter(joint),
            "none": torch.empty(0, 3),
            "one": torch.tensor(2.5),
            "counter": torch.tensor(7),
        },
        "epoch": 3,
        "names": ["a", ("b", {"c": None})],
    }
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = read_weights(find_tensors(path, "checkpoint"))
    theirs = torch.load(path, weights_only=True)
    assert found.keys() == theirs["state_dict"].keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, theirs["state_dict"][name])
        assert tensor.dtype == theirs["state_dict"][name].dtype
    tree = pickles.tree_tensors(pickles.read_pickle(path, "checkpoint"))
    assert tree["epoch"] == 3
    assert tree["names"] == content["names"]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_cut_off_is_told(tmp_path, share, legacy):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.randn(50, 50)}, path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    told(lambda: read_weights(find_tensors(path, "checkpoint")), "a.pth", "fetch it again")


def changed_zip(path: Path, change) -> None:
    """The same archive with other members: `change` maps (name, content) to content."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, change(name, content))


def test_a_storage_has_what_it_states(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.randn(50, 50)}, path)
    changed_zip(path, lambda name, old: old[:100] if "/data/0" in name else old)
    told(lambda: find_tensors(path, "checkpoint"), "a.pth", "100 bytes of 2500 numbers")
    huge = pickle.dumps(2**40, 2)[2:-1]
    torch.save({"a": torch.randn(50, 50)}, path)
    few = pickle.dumps(2500, 2)[2:-1]
    changed_zip(path, lambda name, old: old.replace(few, huge) if "data.pkl" in name else old)
    told(lambda: find_tensors(path, "checkpoint"), "a.pth")


def test_flipped_bits_in_an_archive_are_found(tmp_path):
    path, tensor = tmp_path / "a.pth", torch.randn(50, 50)
    torch.save({"a": tensor}, path)
    content = bytearray(path.read_bytes())
    place = content.find(tensor.numpy().tobytes())
    content[place + 5000] ^= 1
    path.write_bytes(content)
    told(lambda: read_weights(find_tensors(path, "checkpoint")), "a.pth", "checksum")


def test_a_tensor_is_no_larger_than_its_storage(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(1).expand(100_000, 100_000)}, path)
    told(lambda: find_tensors(path, "checkpoint"), "a.pth", "in 1 numbers")
    joint = torch.zeros(1000)
    torch.save({str(n): joint for n in range(5000)}, path)
    told(lambda: read_weights(find_tensors(path, "checkpoint")), "a.pth", "bytes of tensors in")


def test_compressed_members_are_not_unpacked(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(5_000_000)}, path)
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in members.items():
            new.writestr(name, content)
    told(lambda: read_weights(find_tensors(path, "checkpoint")), "a.pth", "compressed")


def test_parts_in_parts_come_to_an_end(tmp_path):
    body = [b"\x80\x02c__torch__.M\nM\nq\x00)\x81q\x01}b"]
    for n in range(2, 60):  # each holds the one before twice
        inner = bytes([n - 1])
        body.append(
            b"0h\x00)\x81q"
            + bytes([n])
            + b"}(X\x01\x00\x00\x00ah"
            + inner
            + b"X\x01\x00\x00\x00bh"
            + inner
            + b"ub"
        )
    content = b"".join(body) + b"."
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/constants.pkl", b").")
    told(lambda: read_linear(tmp_path / "a.pth", 4), "a.pth", "parts")


def test_no_file_can_change_what_the_next_one_is_read_by(tmp_path):
    reader = pickles._Reader(tmp_path, b"", lambda *_: None)
    other = pickles._Reader(tmp_path, b"", lambda *_: None)
    for name in [("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2")]:
        assert reader.find_class(*name) is not other.find_class(*name)
    assert reader.parts is not other.parts


def test_a_storage_that_is_not_listed_is_told(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.randn(5)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    (key,) = set(re.findall(rb"\d{12,}", content))
    first = content.index(key)
    path.write_bytes(content[:first] + b"9" * len(key) + content[first + len(key) :])
    told(lambda: find_tensors(path, "checkpoint"), "a.pth", "storages that it has not")
