"""A server that lies in each way: nothing wrong stays, and nothing is believed."""

import re
import threading
import time

import pytest
from latent_map.files import downloads, known_downloads
from latent_map.files.downloads import fetch
from latent_map.iqa_priors.catalog import PRIORS

from .test_download import WEIGHTS, Hub, files_in, hub  # noqa: F401 - a fixture


@pytest.fixture
def address(hub):  # noqa: F811
    hub.content["/a.safetensors"] = WEIGHTS
    return f"{hub.url}/a.safetensors"


def begun(address, target):
    """400 bytes of the file, and what tells its version."""
    Hub.limit = 400
    with pytest.raises(OSError, match="400 of"):
        fetch(address, target)
    Hub.limit = None


def test_what_was_begun_of_another_version_is_fetched_anew(address, tmp_path):
    begun(address, tmp_path / "a.safetensors")
    changed = WEIGHTS[:-4] + b"\0\0\1\2"
    Hub.content["/a.safetensors"] = changed
    fetch(address, tmp_path / "a.safetensors")
    assert Hub.asked[-1][1] == "bytes=400-"
    assert files_in(tmp_path) == {"a.safetensors": changed}


def test_what_has_no_version_is_fetched_anew(address, tmp_path):
    (tmp_path / "a.safetensors.part").write_bytes(b"x" * 400)
    fetch(address, tmp_path / "a.safetensors")
    assert Hub.asked[-1][1] is None
    Hub.lies = {"ETag": None}
    begun(address, tmp_path / "b.safetensors")
    fetch(address, tmp_path / "b.safetensors")
    assert Hub.asked[-1][1] is None
    assert files_in(tmp_path) == {"a.safetensors": WEIGHTS, "b.safetensors": WEIGHTS}


@pytest.mark.parametrize(
    "said", ["bytes 0-80087/80088", "bytes 399-80087/80088", "nonsense", None, "bytes 400-500/501"]
)
def test_another_part_than_was_asked_for_is_refused(address, tmp_path, said):
    begun(address, tmp_path / "a.safetensors")
    Hub.lies = {"Content-Range": said}
    with pytest.raises(OSError, match="the server sends"):
        fetch(address, tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()
    Hub.lies = {}
    fetch(address, tmp_path / "a.safetensors")
    assert files_in(tmp_path) == {"a.safetensors": WEIGHTS}


def test_another_version_than_it_says_is_refused(address, tmp_path):
    begun(address, tmp_path / "a.safetensors")
    Hub.lies = {"ETag": '"another"', "If-Range": ""}
    with pytest.raises(OSError, match="another part"):
        fetch(address, tmp_path / "a.safetensors")


def test_a_known_size_bounds_what_comes(address, tmp_path):
    with pytest.raises(OSError, match=f"has {len(WEIGHTS)} bytes, 500 are wanted"):
        fetch(address, tmp_path / "a.safetensors", 500)
    Hub.lies = {"Content-Length": None}
    with pytest.raises(OSError, match="more than the 500 bytes"):
        fetch(address, tmp_path / "a.safetensors", 500)
    with pytest.raises(OSError, match=rf"after {len(WEIGHTS)} of {len(WEIGHTS) + 1} bytes"):
        fetch(address, tmp_path / "a.safetensors", len(WEIGHTS) + 1)
    fetch(address, tmp_path / "a.safetensors", len(WEIGHTS))


@pytest.mark.parametrize("length", [None, "many", "-5"])
def test_without_a_length_nothing_is_taken(address, tmp_path, length):
    Hub.lies = {"Content-Length": length}
    with pytest.raises(OSError, match="does not say how many bytes"):
        fetch(address, tmp_path / "a.bin")
    assert not files_in(tmp_path)


@pytest.mark.parametrize("place", ["http://127.0.0.1:9/b", "file:///etc/passwd", "ftp://a/b"])
def test_it_is_led_to_https_only(address, tmp_path, monkeypatch, place):
    def lead(self):
        self.send_response(302)
        self.send_header("Location", place)
        self.end_headers()

    monkeypatch.setattr(Hub, "do_GET", lead)
    with pytest.raises(OSError, match=r"not https|not allowed"):
        fetch(address, tmp_path / "a.safetensors")
    assert not files_in(tmp_path)


def test_a_file_is_what_it_was_the_first_time(address, tmp_path):
    digest = fetch(address, tmp_path / "a.safetensors")
    assert fetch(address, tmp_path / "again.safetensors") == digest
    Hub.content["/a.safetensors"] = WEIGHTS[:-4] + b"\0\0\1\2"
    with pytest.raises(OSError, match=rf"and was {digest} on 20.*delete its entry") as caught:
        fetch(address, tmp_path / "later.safetensors")
    ledger = known_downloads.records_folder() / known_downloads.LEDGER
    assert str(ledger) in str(caught.value)
    assert files_in(tmp_path).keys() == {"a.safetensors", "again.safetensors"}
    ledger.unlink()
    fetch(address, tmp_path / "later.safetensors")


def test_a_damaged_ledger_is_told_and_begun_anew(address, tmp_path, caplog):
    ledger = known_downloads.records_folder() / known_downloads.LEDGER
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_text("{")
    fetch(address, tmp_path / "a.safetensors")
    assert "delete it" in caplog.text
    assert address in ledger.read_text()


def test_two_at_once_fetch_it_once(address, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "WAIT_SECONDS", 0.05)
    real = Hub.do_GET

    def slow(self):
        time.sleep(0.3)
        real(self)

    monkeypatch.setattr(Hub, "do_GET", slow)
    target, found = tmp_path / "a.safetensors", []
    threads = [threading.Thread(target=lambda: found.append(fetch(address, target))) for _ in "123"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert len(Hub.asked) == 1
    assert files_in(tmp_path) == {"a.safetensors": WEIGHTS}


def test_who_waits_can_be_stopped(address, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "WAIT_SECONDS", 0.05)
    lock = known_downloads.lock_of(tmp_path / "a.safetensors")

    def stop(*_):
        raise KeyboardInterrupt

    with lock, pytest.raises(KeyboardInterrupt):
        fetch(address, tmp_path / "a.safetensors", report=stop)


def test_digests_that_names_state_are_verified():
    files = {file.name: file.sha256 for row in PRIORS.values() for file in row.files if file.url}
    assert files["musiq_koniq_ckpt-e95806b9.pth"] == "e95806b9"
    assert files["CLIP-IQA+_learned_prompts-603f3273.pth"] == "603f3273"
    assert files["QualiCLIP.pth"] == ""
    stated = {name: re.search(r"-([0-9a-f]{8})\.", name) for name in files}
    assert {name for name, found in stated.items() if found and files[name] != found[1]} == set()
