"""Full size on a GPU, random weights, in three parts of under 150 seconds each.

    python -m benchmarks.gpu calls|presets|server [--only JOBS] [--out benchmarks/results]
    python -m benchmarks.gpu calls|presets|server --rehearse

`calls`: network calls (Stable Diffusion 2.x with a ControlNet, bfloat16), eager, as graphs and
compiled: time, memory, bits. `presets`: round trip, presets, tiles, gradient. `server`: a real
ComfyUI with SD 1.5. Each job's facts are written as soon as they are there, one that fails costs no
other, and what would not end in the part's time is left out and says so.

--rehearse runs every line on tiny networks, on the CPU as well, with calls made again in the place
of graphs. It proves that the script runs, and measures nothing: it prints, and writes no file.
"""

import argparse
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ..full_size import full_size_backbone, parameters
from ..pairs import save_json
from .bench import REHEARSAL, Bench, Job, Sizes

PARTS = ("calls", "presets", "server")
LIMIT = 150.0  # seconds of a part
REFUSAL = (
    "benchmarks.gpu: no CUDA device here: run it where there is one. --rehearse proves on tiny "
    "networks that the script runs, and measures nothing"
)


def run_part(bench: Bench, jobs: dict[str, Job], report: dict[str, Any], started: float) -> int:
    """Run the jobs in their order; fills the report, and returns how many failed.

    Args:
        started: when the part began, by time.perf_counter.
    """
    failed = 0
    for name, job in jobs.items():
        spent = time.perf_counter() - started
        if not report["rehearsal"] and spent + job.seconds > LIMIT:
            report["jobs"][name] = {"left out": f"{spent:.0f} s of {LIMIT:.0f} had passed"}
        else:
            try:
                report["jobs"][name] = job.run(bench)
            except Exception as error:  # of whatever kind: the other jobs are to be saved
                failed += 1
                said = f"{type(error).__name__}: {error}".partition("\n")[0]
                report["jobs"][name] = {"failed": said, "reached": False}
        print(name, json.dumps(report["jobs"][name]), flush=True)
        save(report, jobs)
    return failed


def save(report: dict[str, Any], jobs: dict[str, Job]) -> None:
    """Write what there is so far; nothing of a rehearsal."""
    if not report["rehearsal"]:
        out = Path(report["out"])
        save_json(out / f"gpu_{report['part']}.json", report)
        text = markdown(report, jobs)
        (out / f"gpu_{report['part']}.md").write_text(text, encoding="utf-8")


def markdown(report: dict[str, Any], jobs: dict[str, Job]) -> str:
    """Facts by job."""
    title = f"# Full size on a GPU: {report['part']}"
    if report["rehearsal"]:
        title = "# REHEARSAL with tiny networks: proves that the script runs, measures nothing"
    count = ", ".join(f"{k} {v / 1e6:.0f} M" for k, v in report["parameters"].items())
    lines = [title, "", f"Device: {report['device']}; torch {report['torch']}; bfloat16.", ""]
    lines += [f"Random weights: {count} parameters.", ""] if count else []
    lines += ["| job | goal | reached | measured |", "|---|---|---|---|"]
    for name, facts in report["jobs"].items():
        shown = {k: v for k, v in facts.items() if k != "reached"}
        text = "; ".join(f"{k}: {_text(v)}" for k, v in shown.items())
        reached = {True: "yes", False: "no"}.get(facts.get("reached"), "")
        reached = "" if report["rehearsal"] else reached
        lines.append(f"| {name} | {jobs[name].goal} | {reached} | {text} |")
    return "\n".join(lines) + "\n"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in value.items())
    return f"{value:.1e}" if isinstance(value, float) and 0 < abs(value) < 1e-3 else str(value)


def main() -> int:
    """Run a part."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--only", nargs="+", help="names of jobs")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rehearse", action="store_true", help="tiny networks; writes nothing")
    parser.add_argument("--out", default="benchmarks/results")
    options = parser.parse_args()
    started, on_gpu = time.perf_counter(), torch.cuda.is_available()
    if not on_gpu and not options.rehearse:
        print(REFUSAL, file=sys.stderr)
        return 2
    jobs = import_module(f".{options.part}", __package__).JOBS
    jobs = {name: job for name, job in jobs.items() if name in (options.only or jobs)}
    device = options.device if on_gpu else "cpu"
    sizes = REHEARSAL if options.rehearse else Sizes()
    plain: Any = None  # the server has its own
    if options.part != "server":
        plain = full_size_backbone(device, torch.bfloat16, tiny=options.rehearse)
    bench = Bench(plain, device, sizes)
    report: dict[str, Any] = {
        "part": options.part,
        "rehearsal": options.rehearse,
        "out": options.out,
        "device": torch.cuda.get_device_name(device) if on_gpu else "CPU",
        "torch": torch.__version__,
        "parameters": {} if plain is None else parameters(plain),
        "jobs": {},
    }
    try:
        failed = run_part(bench, jobs, report, started)
    finally:
        bench.facts.get("stop", lambda: None)()
    print(markdown(report, jobs))
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
