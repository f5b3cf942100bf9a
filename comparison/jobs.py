"""A study's jobs: an entrant's result of a picture each, made once and found ever after."""

from __future__ import annotations

import csv
import io
import json
import platform
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from ..files.json_files import SANE, TABLE, number, read_json, text
from ..files.written import write_atomically
from .entrants import Entrant
from .hashing import description_hash, file_hash
from .preparation import Input
from .study_file import Study

COLUMNS: tuple[str, ...] = (
    "entrant",
    "picture",
    "status",
    "improved",
    "quality_before",
    "quality_after",
    "calls",
    "seconds",
    "error",
)
RECORD = {
    **dict.fromkeys(("entrant", "picture", "key", "error", "sha256", "device", "host"), text()),
    "status": text("done", "failed"),
    "seconds": number(0, SANE),
    **dict.fromkeys(("versions", "made_from", "run"), TABLE),
}
_ONE_AT_A_TIME = threading.Lock()  # a worker of several threads has one set of models all the same


@dataclass(frozen=True)
class Job:
    """What a worker is told.

    Attributes:
        entrant: who works.
        picture: its name.
        source: the prepared picture.
        target: the result; its record lies beside it, as PICTURE.json.
        description: all that the result follows from.
        device: where the worker works.
    """

    entrant: Entrant
    picture: str
    source: Path
    target: Path
    description: Mapping[str, Any]
    device: str

    @property
    def key(self) -> str:
        """The hash of all that the result follows from."""
        return description_hash(self.description)

    @property
    def record(self) -> Path:
        """The file of the result's record."""
        return self.target.with_suffix(".json")


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        status: "made", "found" from before, or "failed".
        seconds: that it took.
        error: one line, where it failed.
    """

    status: Literal["made", "found", "failed"]
    seconds: float = 0.0
    error: str = ""


def plan_jobs(study: Study, inputs: Iterable[Input], device: str) -> list[Job]:
    """All jobs of a study, those that need the same models one after the other.

    Raises: ValueError for what an entrant lacks.
    """
    inputs = list(inputs)
    sizes = {each.picture: (each.width, each.height) for each in inputs}
    for entrant in study.entrants.values():
        entrant.check(sizes)
    return [
        _job(study, entrant, each, device)
        for entrant in sorted(study.entrants.values(), key=lambda entrant: entrant.models)
        for each in inputs
    ]


def _job(study: Study, entrant: Entrant, each: Input, device: str) -> Job:
    description = {
        "input": each.sha256,
        "entrant": entrant.describe(each.picture),
        "version": _version("latent-map"),
    }
    return Job(
        entrant,
        each.picture,
        study.inputs / f"{each.picture}.png",
        study.result(entrant.name, each.picture),
        description,
        device,
    )


def done_record(job: Job) -> dict[str, Any]:
    """The record of a result that is there, whole, and follows from the same; else empty."""
    record = read_record(job.record)
    if record.get("key") != job.key or record.get("status") != "done":
        return {}
    is_whole = job.target.is_file() and file_hash(job.target) == record.get("sha256")
    return record if is_whole else {}


def run_job(job: Job) -> Outcome:
    """Make a result, unless it is there; what goes wrong is an outcome, and a record.

    The picture is written first and the record, which makes it count, last: whoever dies between
    them has lost nothing but time. Raises: OSError where not even that can be written.
    """
    with _ONE_AT_A_TIME:
        if done_record(job):
            return Outcome("found")
        start = time.perf_counter()
        job.target.parent.mkdir(parents=True, exist_ok=True)
        try:
            record = _make(job)
        except Exception as error:  # a failed job is a row; the others go on
            return write_failure(job, one_line(error), time.perf_counter() - start)
        seconds = time.perf_counter() - start
        _write_record(job, {"status": "done", "seconds": seconds, **record})
        return Outcome("made", seconds)


def one_line(error: Exception) -> str:
    """What an error says, or what it is."""
    return " ".join(str(error).split()) or type(error).__name__


def write_failure(job: Job, error: str, seconds: float = 0.0) -> Outcome:
    """Record that a job failed, and why."""
    job.target.parent.mkdir(parents=True, exist_ok=True)
    _write_record(job, {"status": "failed", "seconds": seconds, "error": error})
    return Outcome("failed", seconds, error)


def _make(job: Job) -> dict[str, Any]:
    """Make and write the result. Returns: its record."""
    import torch

    from ..files.pictures import Picture, check_output, read_picture, write_picture

    pixels = read_picture(job.source).pixels
    check_output(job.target, (pixels.shape[-1], pixels.shape[-2]))  # before minutes of work
    made = job.entrant.make(job.picture, pixels, job.device)
    write_picture(job.target, Picture(made.pixels.float().cpu()))
    return {
        "sha256": file_hash(job.target),
        "versions": {
            "latent_map": _version("latent-map"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "made_from": job.description,
        "run": made.record,
    }


def _write_record(job: Job, content: dict[str, Any]) -> None:
    record = {
        "entrant": job.entrant.name,
        "picture": job.picture,
        "key": job.key,
        **content,
        "device": _device_name(job.device),
        "host": socket.gethostname(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    write_atomically(job.record, json.dumps(record, indent=1).encode())


def read_record(path: Path) -> dict[str, Any]:
    """A result's record; empty where there is none, or it is damaged."""
    try:
        return read_json(path, "record of a result", RECORD, ("key", "status"))
    except (OSError, ValueError):
        return {}


def results_table(jobs: Iterable[Job]) -> str:
    """A row for each job, as CSV: what became of it, quality by its own prior, time."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for job in jobs:
        writer.writerow(_row(job))
    return table.getvalue()


def _row(job: Job) -> dict[str, Any]:
    record = read_record(job.record)
    known = record if record.get("key") == job.key else {}
    run = known.get("run")
    run = run if isinstance(run, dict) else {}
    quality = dict(_qualities(run))
    return {
        "entrant": job.entrant.name,
        "picture": job.picture,
        "status": known.get("status", "missing"),
        "improved": run.get("improved", ""),
        "quality_before": quality.get("before", ""),
        "quality_after": quality.get("after", ""),
        "calls": run.get("calls", ""),
        "seconds": known.get("seconds", ""),
        "error": known.get("error", ""),
    }


def _qualities(run: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Quality in [0, 1] by the entrant's own prior, of the input and of the result, where known."""
    try:
        before, rows = run["before"], {row["iteration"]: row for row in run["trace"]}
        after = rows[run["best_iteration"]] if run["improved"] else before
        qualities = before["quality"], after["quality"]
    except (KeyError, TypeError):  # a ready picture has none; a record may have been edited
        return
    yield from zip(("before", "after"), qualities, strict=True)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _device_name(device: str) -> str:
    import torch

    if not device.startswith("cuda") or not torch.cuda.is_available():
        return device
    return f"{device} ({torch.cuda.get_device_name(device)})"
