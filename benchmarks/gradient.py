"""What a gradient through the bijection costs: our memory modes against autograd and the peers.

    python -m benchmarks.gradient [--side 64] [--steps 4] [--repeat 9] [--out benchmarks/results]

n network calls of cost F (no gradient) and B (vector-Jacobian product): nF + nB is the floor of an
exact gradient. Seconds are measured in one process, on one thread, all engines in turn in each of
`repeat` rounds, the floor among them; every engine's least is divided by the floor's least. Peak
memory is measured in a process of each engine's own: what tensors hold, and the resident memory's
growth over the loaded network; "one call" there is a single call with its graph and its
vector-Jacobian product. What the engines are is told in gradient_engines.py.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from latent_map.edict.gradients import vector_jacobian, with_graph
from latent_map.edict.memory import graph_bytes

from .gradient_engines import CONTENDERS, Setting, setting
from .meters import HONEST_MALLOC, MIB, now, peak_mib, reset_peak, tensor_peak_mib
from .pairs import machine, save_json

ONE_CALL = "one call"
GOAL_TIME, GOAL_MEMORY = 1.05, 1.2


def time_all(side: int, steps: int, repeat: int, device: str) -> dict[str, dict]:
    """Seconds of each engine and of the floor's parts, all rounds; and how often it calls."""
    settings = {name: setting(name, side, steps, device) for name in CONTENDERS}
    plain = settings["ours, store"]
    rows: dict[str, dict] = {name: {"seconds": []} for name in CONTENDERS}
    parts = {"forward": [], "backward": []}
    for round_number in range(-1, repeat):  # the first one warms up
        f, b = floor_seconds(plain, device)
        measured = {name: _once(name, settings[name], device) for name in CONTENDERS}
        if round_number < 0:
            continue
        parts["forward"].append(f)
        parts["backward"].append(b)
        for name, (seconds, calls, total) in measured.items():
            rows[name]["seconds"].append(seconds)
            rows[name] |= {"calls": calls, "gradient_sum": total}
    return rows | {"floor": parts}


def _once(name: str, given: Setting, device: str) -> tuple[float, int, float]:
    """Seconds, network calls and the gradient's sum of one run."""
    gc.collect()
    given.denoiser.calls, clock = 0, now(device)
    pulled = CONTENDERS[name].engine(given.bijection, given.noise, given.gradient)
    return now(device) - clock, given.denoiser.calls, float(pulled.x.sum())


def floor_seconds(given: Setting, device: str) -> tuple[float, float]:
    """Seconds of n calls without gradient, and of n vector-Jacobian products."""
    latent, forward, backward = given.noise.x, 0.0, 0.0
    for _ in range(given.bijection.calls):
        clock = now(device)
        with torch.no_grad():
            given.denoiser(latent, 500.0)
        forward += now(device) - clock
        leaf, output = with_graph(given.denoiser, latent, 500.0)
        clock = now(device)
        vector_jacobian(leaf, output, given.gradient.x)
        backward += now(device) - clock
    return forward, backward


def memory_of(name: str, side: int, steps: int, device: str) -> dict[str, float]:
    """Peak MiB of one engine in this process: resident, and of tensors alone."""
    single = name == ONE_CALL
    given = setting("ours, store" if single else name, side, steps, device)

    def run() -> None:
        if single:
            leaf, output = with_graph(given.denoiser, given.noise.x, 500.0)
            vector_jacobian(leaf, output, given.gradient.x)
        else:
            CONTENDERS[name].engine(given.bijection, given.noise, given.gradient)

    with torch.no_grad():
        given.denoiser(given.noise.x, 500.0)
    gc.collect()
    base = reset_peak(device)
    run()
    facts = {"peak_mib": peak_mib(device) - base, "tensors_mib": tensor_peak_mib(run, device)}
    if single:
        kept = graph_bytes(lambda x: given.denoiser(x, 500.0), given.noise.x)
        facts["activations_mib"] = kept / MIB
    return facts


def summary(times: dict[str, dict], memory: dict[str, dict]) -> dict[str, dict]:
    """Per engine: calls, ratios to the floor (of the least, and the rounds' median), memory."""
    floor = times["floor"]
    rounds = [f + b for f, b in zip(floor["forward"], floor["backward"], strict=True)]
    least = min(floor["forward"]) + min(floor["backward"])
    rows = {}
    for name in CONTENDERS:
        seconds = times[name]["seconds"]
        ratios = [s / r for s, r in zip(seconds, rounds, strict=True)]
        rows[name] = {
            "calls": times[name]["calls"],
            "seconds": min(seconds),
            "over_floor": min(seconds) / least,
            "over_floor_median": statistics.median(ratios),
            "peak_mib": memory[name]["peak_mib"],
            "tensors_mib": memory[name]["tensors_mib"],
        }
    return rows


def goals(times: dict, memory: dict, rows: dict) -> dict[str, dict]:
    """What was wanted and what was reached."""
    f, b = (min(times["floor"][part]) for part in ("forward", "backward"))
    recompute = rows["ours, recompute"]
    wanted = {
        "store: time / (nF + nB)": (rows["ours, store"]["over_floor"], GOAL_TIME),
        "recompute: time / (2nF + nB)": (recompute["seconds"] / (2 * f + b), GOAL_TIME),
        "recompute: peak of tensors / one call's kept activations": (
            recompute["tensors_mib"] / memory[ONE_CALL]["activations_mib"],
            GOAL_MEMORY,
        ),
        "recompute: resident peak / one call's resident peak": (
            recompute["peak_mib"] / memory[ONE_CALL]["peak_mib"],
            GOAL_MEMORY,
        ),
    }
    return {k: {"measured": v, "goal": g, "reached": v <= g} for k, (v, g) in wanted.items()}


def markdown(report: dict) -> str:
    """The tables."""
    times, one = report["times"]["floor"], report["memory"][ONE_CALL]
    f, b, n = min(times["forward"]), min(times["backward"]), report["calls"]
    lines = [
        "# Gradient through the bijection",
        "",
        f"Machine: {report['machine']}. Latents 4 x {report['side']} x {report['side']}, "
        f"T = {report['steps']}, {report['repeat']} rounds.",
        "",
        f"n = {n} calls; F = {1e3 * f / n:.1f} ms, B = {1e3 * b / n:.1f} ms, B / F = {b / f:.2f}; "
        f"one call keeps {one['activations_mib']:.1f} MiB for its gradient and peaks at "
        f"{one['tensors_mib']:.1f} MiB ({one['peak_mib']:.1f} MiB resident).",
        "",
        "| engine | calls | time / floor (least) | (median) | tensors (MiB) | resident (MiB) |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {row['calls']} | {row['over_floor']:.2f} | {row['over_floor_median']:.2f} | "
        f"{row['tensors_mib']:.0f} | {row['peak_mib']:.0f} |"
        for name, row in report["rows"].items()
    ]
    lines += ["", "| goal | wanted | measured | |", "|---|---|---|---|"]
    lines += [
        f"| {name} | <= {row['goal']} | {row['measured']:.3f} | "
        f"{'reached' if row['reached'] else 'missed'} |"
        for name, row in report["goals"].items()
    ]
    lines += [
        "",
        "The floor nF + nB is measured in the same rounds. The peer is simulated: our own writing "
        "of its algorithm, not its code. All unguided engines give the same gradient (their sums "
        f"differ by {report['spread']:.0e}).",
    ]
    return "\n".join(lines) + "\n"


def plot(report: dict, path: Path) -> None:
    """Time over the floor against peak memory."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 3.6), sharey=True)
    names = list(report["rows"])[::-1]
    colours = ["tab:blue" if n.startswith("ours") else "tab:grey" for n in names]
    shown = (("over_floor", "time / floor nF + nB"), ("tensors_mib", "peak of tensors (MiB)"))
    for axis, (key, label) in zip(axes, shown, strict=True):
        values = [report["rows"][name][key] for name in names]
        axis.bar_label(axis.barh(names, values, color=colours), fmt="%.3g", padding=3)
        axis.set_xlabel(label)
        axis.set_xlim(0, 1.15 * max(values))
    axes[0].axvline(1, color="black", linewidth=1, linestyle=":")
    axes[1].axvline(report["memory"][ONE_CALL]["tensors_mib"], color="black", ls=":", lw=1)
    axes[1].set_title("dotted: one call with its gradient", fontsize=9)
    axes[0].set_title("dotted: the floor", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Measure all engines, or the memory of one in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=64, help="latent side")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--memory-of", choices=(ONE_CALL, *CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    side, steps, device = options.side, options.steps, options.device
    if options.memory_of:
        print(json.dumps(memory_of(options.memory_of, side, steps, device)))
        return
    memory = {name: _memory_in_own_process(name, options) for name in (ONE_CALL, *CONTENDERS)}
    times = time_all(side, steps, options.repeat, device)
    rows = summary(times, memory)
    sums = [times[n]["gradient_sum"] for n, given in CONTENDERS.items() if not given.guided]
    report = {
        "machine": machine(),
        **{"side": side, "steps": steps, "repeat": options.repeat, "calls": 2 * steps},
        **{"rows": rows, "goals": goals(times, memory, rows), "spread": max(sums) - min(sums)},
        **{"times": times, "memory": memory},
    }
    save_json(options.out / "gradient.json", report)
    (options.out / "gradient.md").write_text(markdown(report), encoding="utf-8")
    plot(report, options.out / "gradient.png")
    print(markdown(report))


def _memory_in_own_process(name: str, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.gradient", "--memory-of", name]
    command += ["--side", str(options.side), "--steps", str(options.steps)]
    done = subprocess.run(
        [*command, "--device", options.device],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | HONEST_MALLOC,
    )
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
