"""What Windows and macOS do otherwise, simulated: their names, open files, and what they lack."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from latent_map.command_line import interruption
from latent_map.comparison.hashing import description_hash, file_hash, folder_hash
from latent_map.comparison.session import Session
from latent_map.comparison.study_file import load_study
from latent_map.files import written
from latent_map.files.state_file import load_state, save_state
from latent_map.files.windows_names import flaw_on_windows
from latent_map.map_estimation.kept_runs import KeptRuns

from .sample_files import contents
from .study_files import READY, UNTOUCHED, write_ready_study, write_study
from .tiny_study import SETTINGS


@pytest.mark.parametrize(
    "name", ["con", "NUL.png", "Aux .txt", "com1", "LPT9.tar.gz", "a:b.png", "a.png.", "a.png "]
)
def test_names_that_windows_takes_for_something_else(tmp_path, monkeypatch, name):
    assert flaw_on_windows(name)
    monkeypatch.setattr(written, "WINDOWS", True)
    with pytest.raises(ValueError, match="choose another name"):
        written.check_writable(tmp_path / name)
    monkeypatch.setattr(written, "WINDOWS", False)
    written.check_writable(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["console.png", "com0", "com10", "nully.png", "a.nul", ".con", "ä"]
)
def test_names_that_only_look_so(tmp_path, monkeypatch, name):
    assert flaw_on_windows(name) == ""
    monkeypatch.setattr(written, "WINDOWS", True)
    written.check_writable(tmp_path / name)


def test_studies_take_no_name_that_one_system_lacks(tmp_path):
    write_ready_study(tmp_path)
    path = write_study(tmp_path, UNTOUCHED + READY.replace('name = "other"', 'name = "Con"'))
    with pytest.raises(ValueError, match="'Con', a device of Windows"):
        load_study(path)
    with pytest.raises(ValueError, match="'nul' is a device of Windows"):
        Session(tmp_path, "nul", SETTINGS)


def test_a_file_that_somebody_looks_at_is_replaced_a_moment_later(tmp_path, monkeypatch):
    replace, tries = os.replace, []

    def busy(source, target):
        tries.append(target)
        if len(tries) < 3:
            raise PermissionError(13, "The process cannot access the file")
        replace(source, target)

    monkeypatch.setattr(os, "replace", busy)
    written.write_atomically(tmp_path / "a", b"new")
    assert contents(tmp_path) == {tmp_path / "a": b"new"}
    monkeypatch.setattr(written, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(OSError, match="cannot write"):
        written.write_atomically(tmp_path / "a", b"newer")
    assert contents(tmp_path) == {tmp_path / "a": b"new"}  # and nothing half-written beside it


def refused(*_, **__):
    raise PermissionError(13, "Access is denied")


def test_a_state_that_was_read_is_not_held_open(tmp_path):
    """Windows replaces no file that is mapped, and a run that goes on writes its state again."""
    path = tmp_path / "a.state"
    save_state(path, "a test", {"x": torch.arange(300_000)}, {})
    tensors, _ = load_state(path, "a test")
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("what is mapped is read from /proc")
    assert str(path) not in maps.read_text()
    assert tensors["x"][-1] == 299_999


def test_a_state_that_cannot_be_removed_costs_no_result(tmp_path, monkeypatch, caplog):
    kept = KeptRuns(tmp_path)
    file = kept.file({"settings": {"inversion": {}}}, False)
    file.path.write_bytes(b"state")
    monkeypatch.setattr(Path, "unlink", refused)
    kept.release([file])
    assert "could not be removed" in caplog.text
    with pytest.raises(PermissionError):  # to begin anew it must be gone
        KeptRuns(tmp_path, go_on=False).file({"settings": {"inversion": {}}}, False)


def test_folders_that_cannot_be_opened_are_not_synced(tmp_path, monkeypatch):
    opened = os.open

    def no_folders(path, *rest, **more):
        return refused() if Path(path).is_dir() else opened(path, *rest, **more)

    monkeypatch.setattr(os, "open", no_folders)
    written.write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_hashes_of_folders_are_the_same_on_all_systems(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text("{}")
    expected = {"unet/config.json": file_hash(tmp_path / "unet" / "config.json")}
    assert folder_hash(tmp_path) == description_hash(expected)


def test_a_system_without_hangups_can_be_interrupted(monkeypatch):
    monkeypatch.setattr(interruption, "SIGNALS", ("SIGINT", "SIGTERM", "SIGNOWHERE"))
    with interruption.interruptible() as stopped:
        signal.raise_signal(signal.SIGTERM)
        assert stopped.is_set()


@pytest.mark.skipif(sys.platform == "win32", reason="it has none of these anyway")
@pytest.mark.parametrize("name", ["fork", "setpgid", "mkfifo", "geteuid", "link", "O_NONBLOCK"])
def test_commands_need_nothing_that_only_unix_has(folder, run, monkeypatch, name):
    monkeypatch.delattr(os, name)
    monkeypatch.setattr(sys, "platform", "win32" if name == "O_NONBLOCK" else sys.platform)
    code, _, err = run("score", "good.png", "--prior", "niqe")
    assert code == 0, err
    written.write_atomically(Path(os.devnull), b"gone")
    written.write_atomically(folder / "a", b"new")
    assert (folder / "a").read_bytes() == b"new"
