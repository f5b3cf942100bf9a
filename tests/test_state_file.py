import errno
import json
import os
import resource
import stat

import numpy as np
import pytest
import torch
from latent_map.files import state_file
from latent_map.files.state_file import load_state, save_state
from latent_map.files.written import check_writable, remove, write_atomically

from .sample_files import out_of_room

MUTATIONS = 1100
METADATA = {"backbone": "pocket", "options": {"steps": 20, "mixing": None}, "names": ["ä", "b"]}


def tensors():
    generator = torch.Generator().manual_seed(0)
    return {
        "x": torch.randn(1, 4, 3, 5, generator=generator, dtype=torch.float64),
        "special": torch.tensor([float("nan"), float("inf"), -0.0, 1e-310], dtype=torch.float64),
        "half": torch.randn(7, generator=generator).to(torch.bfloat16),
        "iteration": torch.tensor(12),
        "flag": torch.tensor([True, False]),
    }


@pytest.fixture
def path(tmp_path):
    save_state(tmp_path / "a.state", "kind", tensors(), METADATA)
    return tmp_path / "a.state"


def same_bits(a, b):
    return (
        a.shape == b.shape
        and a.dtype == b.dtype
        and a.reshape(-1).view(torch.uint8).equal(b.reshape(-1).view(torch.uint8))
    )


def test_loading_gives_back_every_bit_and_the_metadata(path):
    loaded, metadata = load_state(path, "kind")
    assert loaded.keys() == tensors().keys()
    assert all(same_bits(loaded[name], tensor) for name, tensor in tensors().items())
    assert {k: v for k, v in metadata.items() if k != "kind"} == METADATA


def test_strided_and_shared_tensors_are_saved(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    save_state(tmp_path / "a", "kind", {"whole": whole, "turned": whole.T, "part": whole[1:]}, {})
    loaded, _ = load_state(tmp_path / "a", "kind")
    assert torch.equal(loaded["turned"], whole.T)
    assert torch.equal(loaded["part"], whole[1:])


def test_saving_replaces_the_old_state_and_leaves_nothing_else(path):
    save_state(path, "kind", {"x": torch.ones(1)}, {})
    assert load_state(path, "kind")[0].keys() == {"x"}
    assert list(path.parent.iterdir()) == [path]


def test_files_get_the_usual_permissions_and_keep_their_own(tmp_path):
    mask = os.umask(0o022)
    try:
        write_atomically(tmp_path / "a", b"1")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644
    (tmp_path / "a").chmod(0o640)
    write_atomically(tmp_path / "a", b"2")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path):
    write_atomically(tmp_path / ("a" * 255), b"1")
    assert (tmp_path / ("a" * 255)).read_bytes() == b"1"


# Refusals


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 8, b"\xff" * 100, os.urandom(4000)])
def test_what_is_no_state_is_refused(tmp_path, content):
    (tmp_path / "a.state").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.state is .*make it again"):
        load_state(tmp_path / "a.state", "kind")


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no state file"):
        load_state(tmp_path / "a.state", "kind")
    with pytest.raises(ValueError, match="make it again"):
        load_state(tmp_path, "kind")


def test_another_kind_is_refused(path):
    with pytest.raises(ValueError, match=r"'kind'.*'other' is needed"):
        load_state(path, "other")


def test_other_formats_are_refused(path, monkeypatch):
    from safetensors.torch import save_file

    save_file(tensors(), path)
    with pytest.raises(ValueError, match="another version"):
        load_state(path, "kind")
    monkeypatch.setattr(state_file, "FORMAT", "latent-map state 2")
    save_state(path, "kind", tensors(), {})
    monkeypatch.undo()
    with pytest.raises(ValueError, match="another version"):
        load_state(path, "kind")


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.99])
def test_truncated_states_are_refused(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="make it again"):
        load_state(path, "kind")


def test_one_bit_flipped_in_a_tensor_is_refused(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="checksum"):
        load_state(path, "kind")


def header_of(content):
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def test_every_damage_is_noticed(path):
    generator = np.random.default_rng(0)
    original = path.read_bytes()
    refused = 0
    for _ in range(MUTATIONS):
        content = damage(original, generator)
        path.write_bytes(content)
        try:
            load_state(path, "kind")
        except ValueError:
            refused += 1
            continue
        # Blanks in the JSON header may change; nothing else.
        assert header_of(content) == header_of(original)
    assert refused > 0.95 * MUTATIONS


def damage(content, generator):
    """Damage half of the files in the header, where it is most confusing."""
    data = bytearray(content)
    end = len(data) if generator.integers(2) else 8 + int.from_bytes(content[:8], "little")
    at = int(generator.integers(end))
    kind = generator.integers(5)
    if kind == 0:
        data[at] ^= 1 << int(generator.integers(8))
    elif kind == 1:
        data[at] ^= int(generator.integers(1, 256))
    elif kind == 2:
        return bytes(data[:at])
    elif kind == 3:
        del data[at : at + int(generator.integers(1, 20))]
    else:
        data[at:at] = generator.bytes(int(generator.integers(1, 20)))
    return bytes(data)


# Full disk


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_other(path, monkeypatch, function):
    original = path.read_bytes()
    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError, match=r"a\.state.*No space.*free some space") as caught:
        save_state(path, "kind", {"x": torch.ones(5)}, {})
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == original
    assert list(path.parent.iterdir()) == [path]


def test_a_real_write_error_leaves_the_old_file_and_no_other(path):
    original = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"a\.state"):
            write_atomically(path, bytes(50_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == original
    assert list(path.parent.iterdir()) == [path]


def test_an_interruption_leaves_the_old_file_and_no_other(path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    original = path.read_bytes()
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == original
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are POSIX's")
def test_only_files_are_removed(tmp_path):
    pipe, link, folder, file = (tmp_path / name for name in ("pipe", "link", "folder", "file"))
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    folder.mkdir()
    file.write_text("x")
    for path in (pipe, link, folder, file, tmp_path / "none"):
        remove(path)
    assert sorted(tmp_path.iterdir()) == [folder, link, pipe]


def test_what_cannot_be_written_is_known_before(tmp_path, monkeypatch):
    check_writable(tmp_path / "a", 1000)
    with pytest.raises(ValueError, match="is a folder"):
        check_writable(tmp_path)
    with pytest.raises(ValueError, match="no folder"):
        check_writable(tmp_path / "b" / "a")
    with pytest.raises(ValueError, match="free some space"):
        check_writable(tmp_path / "a", 10**18)
    monkeypatch.setattr(os, "open", out_of_room)
    with pytest.raises(ValueError, match="may not be written to"):
        check_writable(tmp_path / "a")
