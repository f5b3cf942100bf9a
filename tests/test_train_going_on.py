"""A training that is stopped, and what it goes on with: nothing lost, no epoch logged twice."""

import json
import shutil

import pytest
import torch
from latent_map.__main__ import main
from latent_map.iqa_priors.training import ms_liqe
from latent_map.iqa_priors.training.loop import Training

from .test_train_ms_liqe import initial, log_of, with_config, workshop  # noqa: F401 - fixtures


def train(path):
    return main(["train-ms-liqe", str(path)])


def test_a_kill_between_log_and_checkpoint_logs_no_epoch_twice(workshop, monkeypatch):  # noqa: F811
    config = with_config(workshop, "whole")
    assert train(config) == 0
    wanted = log_of(workshop / "whole")
    saves = []

    def kill(self, path, **extra):
        saves.append(extra["epoch"])
        if extra["epoch"] == at:
            raise KeyboardInterrupt
        real(self, path, **extra)

    real = Training.save
    for at in (1, 2):
        out = workshop / f"killed{at}"
        config = with_config(workshop, out.name)
        monkeypatch.setattr(Training, "save", kill)
        assert train(config) == 130
        assert len(log_of(out)) == at + 1  # its epoch is logged, and not in the checkpoint
        monkeypatch.setattr(Training, "save", real)
        assert train(config) == 0
        for mine, theirs in zip(log_of(out), wanted, strict=True):
            assert {k: v for k, v in mine.items() if k != "seconds"} == {
                k: v for k, v in theirs.items() if k != "seconds"
            }
        weights = [torch.load(p / "checkpoint.pt") for p in (out, workshop / "whole")]
        for name, tensor in weights[0]["network"].items():
            assert torch.equal(tensor, weights[1]["network"][name])


def test_a_line_cut_off_is_dropped(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("epoch,step\n0,0\n1,4\n2,8\n3,1")
    ms_liqe._trim_log(log, 2)
    assert log.read_text() == "epoch,step\n0,0\n1,4\n2,8\n"
    ms_liqe._trim_log(log, 1)
    assert log.read_text() == "epoch,step\n0,0\n1,4\n"
    log.write_text("epoch,st")
    ms_liqe._trim_log(log, 1)
    assert not log.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rate": 2e-3}, "was begun with rate 0.001, now it is 0.002"),
        ({"steps": 5}, "was begun with steps 4, now it is 5"),
        ({"epochs": 9}, "was begun with epochs 1, now it is 9"),
        ({"seed": 4}, "seed"),
    ],
)
def test_other_options_are_not_gone_on_with(workshop, capsys, change, words):  # noqa: F811
    out = "options"
    if not (workshop / out).exists():
        assert train(with_config(workshop, out, epochs=1)) == 0
    before = (workshop / out / "checkpoint.pt").read_bytes()
    assert train(with_config(workshop, out, **({"epochs": 1} | change))) == 2
    assert words in capsys.readouterr().err
    assert (workshop / out / "checkpoint.pt").read_bytes() == before
    assert train(with_config(workshop, out, epochs=1, workers=0, validate_every=3)) == 0


def test_other_opinions_are_not_gone_on_with(workshop, capsys):  # noqa: F811
    assert train(with_config(workshop, "opinions", epochs=1)) == 0
    path = with_config(workshop, "opinions", epochs=1)
    config = json.loads(path.read_text())
    config["datasets"][0]["falling"] = True
    path.write_text(json.dumps(config))
    assert train(path) == 2
    assert "was begun with dataset five" in capsys.readouterr().err


def test_a_disk_without_room_is_told_before_the_first_epoch(workshop, capsys, monkeypatch):  # noqa: F811
    usage = shutil.disk_usage(workshop)._replace(free=1000)
    monkeypatch.setattr("latent_map.files.written.shutil.disk_usage", lambda _: usage)
    assert train(with_config(workshop, "small")) == 2
    assert "MB are needed: free some space" in capsys.readouterr().err
    assert not (workshop / "small" / "log.csv").exists()


def test_a_disk_that_fills_up_keeps_the_last_checkpoint(workshop, capsys, monkeypatch):  # noqa: F811
    config = with_config(workshop, "full")
    real = torch.save

    def full(content, file):
        real(content, file)
        if content["epoch"] == 2:
            raise RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed")

    monkeypatch.setattr(torch, "save", full)
    assert train(config) == 3
    err = capsys.readouterr().err
    assert "cannot write" in err
    assert "free some space and run it again" in err
    assert torch.load(workshop / "full" / "checkpoint.pt")["epoch"] == 1
    assert not list((workshop / "full").glob(".latent-map-*"))
    monkeypatch.setattr(torch, "save", real)
    assert train(config) == 0
    assert [row["epoch"] for row in log_of(workshop / "full")] == ["0", "1", "2"]
