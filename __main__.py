"""The command line: latent-map enhance, score, invert, reconstruct."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

EPILOG = "The pocket backbone and prior are a preview of the method, not Stable Diffusion."


def main(arguments: list[str] | None = None) -> int:
    """Run a command; bad input ends with one line on stderr and exit code 2."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError) as error:
        print(f"latent-map: {error}", file=sys.stderr)
        return 2
    except MemoryError:
        print(
            "latent-map: out of memory: use a smaller picture or --memory recompute",
            file=sys.stderr,
        )
        return 3
    except RuntimeError as error:
        text = str(error).strip().splitlines()[0]
        if "memory" in text:
            text += ": use a smaller picture or --memory recompute"
        print(f"latent-map: {text}", file=sys.stderr)
        return 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="latent-map", description=__doc__, epilog=EPILOG)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    enhance = commands.add_parser("enhance", help="make pictures better", epilog=EPILOG)
    enhance.add_argument("input", type=Path, help="picture file or folder")
    enhance.add_argument("-o", "--output", type=Path, required=True, help="file, or folder")
    enhance.add_argument("--preset", default="fast", help="fast, paper, or a baseline")
    enhance.add_argument("--prior", default="pocket", help="pocket, niqe, or A+B for their mean")
    enhance.add_argument("--fidelity", default="low_resolution", help="low_resolution, mse or mae")
    enhance.add_argument("--iterations", type=int, help="gradient steps")
    enhance.add_argument("--steps", type=int, help="diffusion steps T")
    enhance.add_argument("--lam", type=float, help="weight of the prior, lambda")
    enhance.add_argument("--strength", type=float, help="share of the noise to invert, in (0, 1]")
    enhance.add_argument("--memory", choices=("auto", "store", "recompute"))
    enhance.add_argument("--report", type=Path, help="JSON file")
    enhance.add_argument("--sheet", type=Path, help="before/after picture (one input)")
    enhance.add_argument(
        "--state", type=Path, help="keep and resume an interrupted run (one input)"
    )
    enhance.set_defaults(run=_enhance)
    score = commands.add_parser("score", help="print quality scores")
    score.add_argument("input", type=Path, nargs="+", help="picture files or folders")
    score.add_argument("--prior", default="pocket", help="pocket, niqe, or A+B")
    score.set_defaults(run=_score)
    invert = commands.add_parser("invert", help="picture to noise, exactly")
    invert.add_argument("input", type=Path)
    invert.add_argument("-o", "--output", type=Path, required=True, help="state file")
    invert.add_argument("--steps", type=int, default=20, help="diffusion steps T")
    invert.add_argument("--mixing", type=float, help="p in (0.5, 1]; default 0.93 ** (50 / T)")
    invert.add_argument("--strength", type=float, default=1.0)
    invert.set_defaults(run=_invert)
    reconstruct = commands.add_parser("reconstruct", help="noise to picture")
    reconstruct.add_argument("input", type=Path, help="state file")
    reconstruct.add_argument("-o", "--output", type=Path, required=True)
    reconstruct.set_defaults(run=_reconstruct)
    for command in (enhance, score, invert, reconstruct):
        command.add_argument("--device", default="cpu", help="cpu, cuda, mps")
    return parser


def _prior(names: str, device: str):
    from .iqa_priors import CombinedPrior, load_prior

    priors = tuple(load_prior(name.strip(), device) for name in names.split("+"))
    return priors[0] if len(priors) == 1 else CombinedPrior(priors, (1.0,) * len(priors))


def _settings(options: argparse.Namespace):
    from .map_estimation.settings import preset

    settings = preset(options.preset)
    chosen = {"iterations": options.iterations, "lam": options.lam, "memory": options.memory}
    inversion = {"strength": options.strength, "steps": options.steps}
    inversion = {k: v for k, v in inversion.items() if v is not None}
    chosen = {k: v for k, v in chosen.items() if v is not None}
    return replace(settings, inversion=replace(settings.inversion, **inversion), **chosen)


def _jobs(options: argparse.Namespace) -> list[tuple[Path, Path]]:
    """(input, output) files, all checked before the first is worked on."""
    from .map_estimation.pictures import check_output, find_pictures, read_picture

    files = find_pictures(options.input)
    if options.input.is_dir():
        options.output.mkdir(parents=True, exist_ok=True)
        if options.output.resolve() == options.input.resolve():
            raise ValueError("the output folder is the input folder: choose another")
        if options.sheet or options.state:
            raise ValueError("--sheet and --state go with one picture, not with a folder")
        return [(file, options.output / f"{file.stem}.png") for file in files]
    check_output(options.output, read_picture(files[0]).alpha is not None)
    for extra in (options.report, options.sheet, options.state):
        if extra is not None and not extra.parent.is_dir():
            raise ValueError(f"no folder {extra.parent}: make it first")
    return [(files[0], options.output)]


def _enhance(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    settings, jobs = _settings(options), _jobs(options)
    from .edict.backbones import load_backbone
    from .fidelity import load_fidelity

    tools = (
        load_backbone("pocket", options.device),
        _prior(options.prior, options.device),
        load_fidelity(options.fidelity),
    )
    reports, failures = {}, 0
    for source, target in jobs:
        with tqdm(total=settings.iterations, desc=source.name, unit="it") as bar:
            try:
                reports[source.name] = _enhance_one(source, target, tools, settings, options, bar)
            except (ValueError, RuntimeError) as error:
                if len(jobs) == 1:
                    raise
                failures += 1
                reports[source.name] = {"error": str(error)}
                print(f"latent-map: {source}: {error}", file=sys.stderr)
    if options.report:
        from .state_file import write_atomically

        write_atomically(options.report, json.dumps(reports, indent=1).encode())
    return 3 if failures else 0


def _enhance_one(source: Path, target: Path, tools, settings, options, bar) -> dict:
    from .map_estimation.enhance import enhance
    from .map_estimation.pictures import read_picture, write_picture
    from .map_estimation.report import before_after_sheet, describe_run

    backbone, prior, fidelity = tools
    picture = read_picture(source)
    before = picture.pixels.to(options.device)

    def show(step):
        bar.set_postfix(quality=f"{step.row.quality:.4f}", energy=f"{step.row.energy:.5f}")
        bar.update(step.row.iteration - bar.n)

    (result,) = enhance(before, backbone, prior, fidelity, settings, show, options.state)
    write_picture(target, replace(picture, pixels=result.x))
    if options.sheet:
        before_after_sheet(before, result).save(options.sheet)
    note = "" if result.improved else "no improvement found, the input is returned"
    bar.write(f"{target}: {result.status.value}" + (f"; {note}" if note else ""))
    return describe_run(before, result, prior, settings)


def _score(options: argparse.Namespace) -> int:
    import torch

    from .map_estimation.enhance import check_prior
    from .map_estimation.pictures import find_pictures, read_picture

    prior = _prior(options.prior, options.device)
    for file in (f for path in options.input for f in find_pictures(path)):
        pixels = read_picture(file).pixels.to(options.device)
        check_prior(prior, pixels)
        with torch.no_grad():
            parts = [f"{name} {float(value):.4f}" for name, value in prior.scores(pixels).items()]
            print(f"{file}  quality {float(prior(pixels)):.4f}  " + "  ".join(parts))
    return 0


def _invert(options: argparse.Namespace) -> int:
    from .edict.backbones import load_backbone
    from .edict.inversion import InversionOptions, invert_picture, round_trip_error
    from .edict.latents_file import save_latents
    from .map_estimation.pictures import read_picture

    chosen = InversionOptions(options.steps, options.mixing, strength=options.strength)
    pixels = read_picture(options.input).pixels.to(options.device)
    if not options.output.parent.is_dir():
        raise ValueError(f"no folder {options.output.parent}: make it first")
    latents = invert_picture(load_backbone("pocket", options.device), pixels, chosen)
    save_latents(options.output, latents)
    print(f"{options.output}: round trip error {round_trip_error(latents):.1e}")
    return 0


def _reconstruct(options: argparse.Namespace) -> int:
    from .edict.inversion import reconstruct_picture
    from .edict.latents_file import load_latents
    from .map_estimation.pictures import Picture, check_output, write_picture

    check_output(options.output, has_alpha=False)
    images = reconstruct_picture(load_latents(options.input, options.device))
    if len(images.x) > 1:
        raise ValueError(f"{options.input} holds {len(images.x)} pictures; one can be written")
    write_picture(options.output, Picture(images.x))
    return 0


if __name__ == "__main__":
    sys.exit(main())
