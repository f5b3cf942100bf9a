"""latent-map download, download-prior and download-fidelity against a server on this machine."""

import hashlib
import shutil
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from latent_map.__main__ import main
from latent_map.command_line.download import SOURCES, RemoteFile, Source
from latent_map.fidelity.catalog import FIDELITIES
from latent_map.files import transfers
from latent_map.files.downloads import fetch, fetch_files
from latent_map.files.weight_files import WeightFile
from latent_map.iqa_priors.catalog import PRIORS
from safetensors.torch import save

WEIGHTS = save({"a": torch.arange(20000).float()})
TEXT = b'{"a": 1}'
COMMIT = "0123456789" * 4


class Hub(BaseHTTPRequestHandler):
    """Serves `content`; breaks off after `limit` bytes of an answer; may know no ranges, or lie."""

    content: dict
    limit: int | None
    ranges: bool
    asked: list
    lies: dict  # headers instead of the right ones; None leaves one out

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Range")))
        body = self.content.get(self.path)
        if body is None:
            self.send_error(404)
            return
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        tag = self.lies.get("ETag", tag)
        same = self.headers.get("If-Range") in (None, tag) or "If-Range" in self.lies
        asked = self.headers.get("Range") if self.ranges and same else None
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start and start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        headers = {"Content-Length": str(len(body) - start), "ETag": tag}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        for name, value in (headers | self.lies).items():
            if value is not None and name != "If-Range":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[start:][: self.limit])

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path_factory):
    """A server with one small checkpoint, `tiny`, whose weights are pinned."""
    monkeypatch.setenv("LATENT_MAP_CACHE", str(tmp_path_factory.mktemp("cache")))
    sums = (hashlib.sha256(content).hexdigest() for content in (TEXT, WEIGHTS))
    files = (
        RemoteFile("model_index.json"),
        RemoteFile("unet/a.safetensors", len(WEIGHTS), list(sums)[1]),
    )
    monkeypatch.setitem(SOURCES, "tiny", Source("someone/tiny", "a test", COMMIT, files))
    prefix = f"/someone/tiny/resolve/{COMMIT}/"
    content = {prefix + "model_index.json": TEXT, prefix + "unet/a.safetensors": WEIGHTS}
    Hub.content, Hub.limit, Hub.ranges, Hub.asked, Hub.lies = content, None, True, [], {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Hub.url, Hub.prefix = f"http://127.0.0.1:{server.server_port}", prefix
    yield Hub
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def run(capsys):
    def call(*arguments):
        capsys.readouterr()
        return main(["download", *map(str, arguments)]), *capsys.readouterr()

    return call


def files_in(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


WHOLE = {"model_index.json": TEXT, "unet/a.safetensors": WEIGHTS}


def test_a_checkpoint_is_fetched_and_its_sums_are_told(hub, run, tmp_path):
    code, out, _ = run("tiny", "-o", tmp_path / "tiny", "--endpoint", hub.url)
    assert code == 0
    assert files_in(tmp_path / "tiny") == WHOLE
    first, second, last = out.splitlines()
    digest = hashlib.sha256(TEXT).hexdigest()
    assert f"sha256 {digest}  (not pinned, compared with the first time)" in first
    assert second.endswith(hashlib.sha256(WEIGHTS).hexdigest())
    assert f"--backbone {tmp_path / 'tiny'}" in last


def test_a_broken_connection_is_gone_on_from(hub, run, tmp_path):
    hub.limit = 30000
    code, _, err = run("tiny", "-o", tmp_path, "--endpoint", hub.url)
    assert code == 3
    assert err.count("\n") == 1
    assert "30000 of" in err or "IncompleteRead" in err
    assert str(tmp_path / "unet" / "a.safetensors") in err
    assert files_in(tmp_path).keys() == {
        "model_index.json",
        "unet/a.safetensors.part",
        "unet/a.safetensors.part.version",
    }
    hub.limit = None
    assert run("tiny", "-o", tmp_path, "--endpoint", hub.url)[0] == 0
    assert hub.asked[-1][1] == "bytes=30000-"
    assert files_in(tmp_path) == WHOLE


def test_a_server_without_ranges_starts_anew(hub, run, tmp_path):
    hub.limit, hub.ranges = 30000, False
    run("tiny", "-o", tmp_path, "--endpoint", hub.url)
    hub.limit = None
    assert run("tiny", "-o", tmp_path, "--endpoint", hub.url)[0] == 0
    assert files_in(tmp_path) == WHOLE


def test_a_part_that_is_whole_already_is_used(hub, run, tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "a.safetensors.part").write_bytes(WEIGHTS)
    assert run("tiny", "-o", tmp_path, "--endpoint", hub.url)[0] == 0
    assert files_in(tmp_path) == WHOLE


def test_what_is_there_is_not_fetched_again(hub, run, tmp_path):
    run("tiny", "-o", tmp_path, "--endpoint", hub.url)
    before = len(hub.asked)
    assert run("tiny", "-o", tmp_path, "--endpoint", hub.url)[0] == 0
    assert len(hub.asked) == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (bytes(len(WEIGHTS)), "no safetensors file"),
        (WEIGHTS[:-1] + b"?", "its sha256 is"),
        (WEIGHTS + b"more", "are wanted"),
        (b"<!DOCTYPE html>please log in", "are wanted"),
    ],
)
def test_a_wrong_file_does_not_stay(hub, run, tmp_path, content, words):
    hub.content[hub.prefix + "unet/a.safetensors"] = content
    code, _, err = run("tiny", "-o", tmp_path, "--endpoint", hub.url)
    assert code == 3
    assert words in err
    assert files_in(tmp_path).keys() == {"model_index.json"}


def test_a_wrong_file_that_was_there_is_named_and_kept(hub, run, tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "a.safetensors").write_bytes(b"mine")
    code, _, err = run("tiny", "-o", tmp_path, "--endpoint", hub.url)
    assert code == 3
    assert "delete it" in err
    assert (tmp_path / "unet" / "a.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "content", [WEIGHTS[:-1], b"<html>sorry</html>", b"version https://git-lfs"]
)
def test_what_no_pin_tells_the_header_does(hub, tmp_path, content):
    address = f"{hub.url}{hub.prefix}unet/a.safetensors"
    hub.content[hub.prefix + "unet/a.safetensors"] = content
    with pytest.raises(OSError, match=r"cut off|web page|git lfs pull"):
        fetch(address, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://unknown.invalid", None])
def test_without_the_server_one_line_says_what_to_do_by_hand(hub, run, tmp_path, endpoint):
    if endpoint is None:
        hub.content.clear()
    code, _, err = run("tiny", "-o", tmp_path / "tiny", "--endpoint", endpoint or hub.url)
    assert code == 3
    assert err.count("\n") == 1
    assert "by hand" in err
    assert f"{hub.prefix}model_index.json" in err
    assert str(tmp_path / "tiny" / "model_index.json") in err
    assert "models/diffusers" in err


def test_bad_names_are_refused_before_anything_is_asked(hub, run, tmp_path):
    code, _, err = run("sd-9")
    assert code == 2
    assert "choose from sd-2-base" in err
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        code, _, err = run("tiny", "-o", folder, "--endpoint", hub.url)
        assert code == 2
        assert str(folder) in err
    assert not hub.asked


def test_the_list_says_what_is_pinned(run):
    code, out, _ = run()
    assert code == 0
    for name, source in SOURCES.items():
        assert name in out
        assert source.repository in out
        assert source.revision[:12] in out or not source.pinned
    assert out.count("not pinned") == sum(not source.pinned for source in SOURCES.values())
    assert "f5bc1bd97485" in out


def test_what_is_not_pinned_is_said(hub, run, tmp_path, monkeypatch):
    loose = Source("someone/tiny", "a test", "main", (RemoteFile("model_index.json"),))
    monkeypatch.setitem(SOURCES, "loose", loose)
    hub.content["/someone/tiny/resolve/main/model_index.json"] = TEXT
    code, _, err = run("loose", "-o", tmp_path, "--endpoint", hub.url)
    assert code == 0
    assert "not pinned" in err


def test_only_the_named_server_is_asked(hub, run, tmp_path, monkeypatch):
    opened = []
    real = transfers._open

    def note(request):
        opened.append(request.full_url)
        return real(request)

    monkeypatch.setattr(transfers, "_open", note)
    run("tiny", "-o", tmp_path, "--endpoint", hub.url)
    assert opened == [hub.url + path for path in hub.content]


# Single weight files, for priors and measures.


@pytest.fixture
def weight(hub, tmp_path, monkeypatch):
    """A weight file on the server that the prior `cnniqa` and the measure `dists` need."""
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    hub.content["/a.pth"] = WEIGHTS
    file = WeightFile("a.pth", 1, f"{hub.url}/a.pth", digest[:8], "checkpoints")
    monkeypatch.setitem(PRIORS, "cnniqa", replace(PRIORS["cnniqa"], files=(file,)))
    monkeypatch.setitem(FIDELITIES, "dists", replace(FIDELITIES["dists"], files=(file,)))
    monkeypatch.delenv("LATENT_MAP_MODELS", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return file


@pytest.mark.parametrize("command", [("download-prior", "cnniqa"), ("download-fidelity", "dists")])
def test_the_weights_of_a_prior_or_measure_go_where_they_are_looked_for(
    weight, command, tmp_path, monkeypatch, capsys
):
    place = tmp_path / "hub" / "checkpoints" / "a.pth"
    for _ in range(2):
        assert main([*command]) == 0
        digest = hashlib.sha256(WEIGHTS).hexdigest()
        assert capsys.readouterr().out == f"{place}  sha256 {digest}\n"
        assert place.read_bytes() == WEIGHTS
    assert len(Hub.asked) == 1
    assert main([*command, "--folder", str(tmp_path / "new" / "iqa")]) == 0
    monkeypatch.setenv("LATENT_MAP_MODELS", str(tmp_path / "mine"))
    assert main([*command]) == 0
    for folder in ("new/iqa", "mine/iqa"):
        assert files_in(tmp_path / folder) == {"a.pth": WEIGHTS}


@pytest.mark.parametrize("command", ["download-prior", "download-fidelity"])
def test_names_that_need_no_file_are_refused(command, capsys):
    assert main([command, "mse"]) == 2
    assert "choose from" in capsys.readouterr().err


def test_a_weight_file_cut_off_is_gone_on_from(hub, weight, tmp_path):
    hub.limit = 400
    with pytest.raises(OSError, match=f"after 400 of {len(WEIGHTS)} bytes.*by hand"):
        fetch_files([weight], tmp_path)
    assert files_in(tmp_path)["a.pth.part"] == WEIGHTS[:400]
    hub.limit = None
    assert list(fetch_files([weight], tmp_path)) == [tmp_path / "a.pth"]
    assert hub.asked[-1] == ("/a.pth", "bytes=400-")
    assert files_in(tmp_path) == {"a.pth": WEIGHTS}


def test_a_file_that_nobody_publishes_stops_it_before_anything_is_asked(hub, weight, tmp_path):
    with pytest.raises(ValueError, match=r"nobody publishes own\.safetensors"):
        fetch_files([weight, WeightFile("own.safetensors")], tmp_path)
    assert not hub.asked


def test_a_full_disk_is_told_before_anything_is_written(weight, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(transfers.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=f"{len(WEIGHTS)} bytes are to come.*room for 100"):
        fetch_files([weight], tmp_path / "iqa")
    assert not files_in(tmp_path)


def test_a_disk_that_fills_up_leaves_the_part(weight, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfers.os, "fsync", full)
    with pytest.raises(OSError, match=r"fetch a\.pth \(No space left on device\): repeat"):
        fetch_files([weight], tmp_path)
    assert files_in(tmp_path).keys() == {"a.pth.part", "a.pth.part.version"}


def test_progress_goes_from_what_is_there_to_the_whole(weight, tmp_path, monkeypatch):
    import tqdm

    bars = []

    class Bar(tqdm.tqdm):
        def __init__(self, **options):
            bars.append(options)
            super().__init__(**options | {"disable": True})

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    Hub.limit = 400
    with pytest.raises(OSError, match="400 of"):
        fetch_files([weight], tmp_path)
    Hub.limit = None
    bars.clear()
    fetch_files([weight], tmp_path)
    (told,) = bars
    assert (told["desc"], told["initial"], told["total"]) == ("a.pth", 400, len(WEIGHTS))


def test_a_prior_without_files_has_none_to_download(capsys):
    assert main(["download-prior", "niqe"]) == 2
    assert "choose from" in capsys.readouterr().err
