"""The command line of Latent MAP."""

import argparse
import logging
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import NoReturn, get_args

from .command_line.failures import BAD_INPUT, EXPECTED, INTERRUPTED, exit_code, explain
from .fidelity.choices import Start

EPILOG = "The pocket backbone and prior are a preview of the method, not Stable Diffusion."


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Returns: 0; 2 for bad input and 3 for a failure while working, each with one line on stderr;
        130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="latent-map: %(message)s")
    logging.getLogger(__package__).setLevel(logging.INFO)
    try:
        module = import_module(f".command_line.{options.module}", __package__)
        return getattr(module, options.command.replace("-", "_"))(options)
    except KeyboardInterrupt:
        print("latent-map: stopped", file=sys.stderr)
        return INTERRUPTED
    except EXPECTED as error:
        print(f"latent-map: {explain(error)}", file=sys.stderr)
        return exit_code(error)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage."""
        self.exit(BAD_INPUT, f"latent-map: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="latent-map", description=__doc__, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    _add_enhance(commands.add_parser("enhance", help="make pictures better", epilog=EPILOG))
    score = commands.add_parser("score", help="print quality scores")
    score.add_argument("input", type=Path, nargs="+", help="picture files or folders")
    score.add_argument("--prior", default="pocket", help="see docs/priors.md; A,B for several")
    score.add_argument("--calibration", type=Path, help="JSON file of the calibrate command")
    invert = commands.add_parser("invert", help="picture to noise, exactly")
    invert.add_argument("input", type=Path)
    invert.add_argument("-o", "--output", type=Path, required=True, help="state file")
    invert.add_argument("--steps", type=int, default=20, help="diffusion steps T")
    invert.add_argument("--mixing", type=float, help="p in (0.5, 1]; default 0.93 ** (50 / T)")
    invert.add_argument("--strength", type=float, default=1.0)
    _add_bijection(invert)
    _add_backbone(invert)
    reconstruct = commands.add_parser("reconstruct", help="noise to picture")
    reconstruct.add_argument("input", type=Path, help="state file")
    reconstruct.add_argument("-o", "--output", type=Path, required=True)
    train = commands.add_parser("train-ms-liqe", help="train the paper's quality model")
    train.add_argument("config", type=Path, help="TOML or JSON file, see docs/ms_liqe.md")
    train.set_defaults(module="train_ms_liqe")
    _add_calibrate(commands.add_parser("calibrate", help="fit a prior's logistic, Eq. (21)"))
    _add_download(commands.add_parser("download", help="fetch a checkpoint, if you say so"))
    _add_convert_dape(commands.add_parser("convert-dape", help="SeeSR's pickles to safetensors"))
    _add_recover(commands.add_parser("recover", help="what one fidelity measure leads back to"))
    for kind, names in (("prior", "docs/priors.md"), ("fidelity", "docs/fidelity.md")):
        weights = commands.add_parser(f"download-{kind}", help=f"get the weights of a {kind}")
        weights.add_argument("name", help=f"one of {names}")
        weights.add_argument(
            "--folder", type=Path, help="default: LATENT_MAP_MODELS/iqa, or a cache"
        )
        weights.set_defaults(module="download_weights")
    for command in commands.choices.values():
        command.set_defaults(module=command.get_default("module") or "commands")
        command.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps")
    return parser


def _add_enhance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, help="picture file or folder")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file, or folder")
    parser.add_argument("--preset", default="fast", help="fast, paper, or a baseline")
    parser.add_argument("--prior", default="pocket", help="see docs/priors.md; A,B for their mean")
    parser.add_argument("--calibration", type=Path, help="JSON file of the calibrate command")
    parser.add_argument(
        "--fidelity", default="low_resolution", help="a measure of docs/fidelity.md"
    )
    parser.add_argument("--iterations", type=int, help="gradient steps")
    parser.add_argument("--steps", type=int, help="diffusion steps T")
    parser.add_argument("--lam", type=float, help="weight of the prior, lambda")
    parser.add_argument("--strength", type=float, help="share of the noise to invert, in (0, 1]")
    _add_bijection(parser)
    parser.add_argument("--memory", choices=("auto", "store", "recompute"))
    parser.add_argument("--report", type=Path, help="JSON file")
    parser.add_argument("--sheet", type=Path, help="before/after picture (one input)")
    parser.add_argument("--state", type=Path, help="keep and resume an interrupted run (one input)")
    parser.add_argument(
        "--tile", type=_tile, help="side of tiles in pixels; auto (default) or none"
    )
    parser.add_argument(
        "--no-check-gradient",
        dest="check_gradient",
        action="store_false",
        default=None,
        help="do not compare the first gradient with a finite difference",
    )
    parser.add_argument("--mask", type=Path, help="picture file: white is enhanced, black kept")
    parser.add_argument("--guard", type=Path, help="picture file: white is held more tightly")
    parser.add_argument("--anchor-colours", action="store_true", help="only detail may change")
    _add_backbone(parser)


def _tile(text: str) -> int | str:
    return text if text in ("auto", "none") else int(text)


def _add_bijection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bijection",
        choices=("edict", "bdia", "obelm"),
        help="edict calls the network twice a step, the others once; default: the preset's",
    )
    parser.add_argument("--gamma", type=float, help="of bdia, in (0, 1]; default 1")


def _add_backbone(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backbone",
        default="pocket",
        metavar="PATH",
        help="pocket; a diffusers folder or single-file checkpoint of SD 1.5, 2.x or SDXL; or "
        "seesr:FOLDER",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="its networks through torch.compile: minutes at the first call of each picture size",
    )
    parser.add_argument("--base", metavar="PATH", help="SeeSR's SD 2.0 or 2.1 base checkpoint")
    parser.add_argument(
        "--without-dape", action="store_true", default=None, help="SeeSR without image tokens"
    )
    parser.add_argument("--controlnet", metavar="PATH", help="its ControlNet, folder or file")
    parser.add_argument("--control-strength", type=float, help="of the ControlNet, default 1")
    parser.add_argument("--prompt", help="default: empty")
    parser.add_argument("--negative", help="negative prompt, used with --cfg; default: empty")
    parser.add_argument("--cfg", type=float, help="guidance, default 1; others double the cost")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"))
    parser.add_argument("--prediction", choices=("auto", "eps", "v"), help="of a single file")


def _add_download(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="which; without one, a list is printed")
    parser.add_argument("-o", "--output", type=Path, help="folder, default NAME")
    parser.add_argument(
        "--endpoint", default="https://huggingface.co", help="server with the hub's addresses"
    )
    parser.set_defaults(module="download")


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prior", required=True, help="name of the prior")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--scores", type=Path, help="CSV file with the columns score and mos")
    data.add_argument("--folder", type=Path, help="photographs: median and spread, no opinions")
    parser.add_argument(
        "--scale",
        type=float,
        nargs=2,
        metavar=("WORST", "BEST"),
        help="ends of the opinions' scale (100 0 for DMOS); default: the extremes found",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file")
    parser.set_defaults(module="calibrate")


def _add_convert_dape(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ram", type=Path, help="ram_swin_large_14m.pth")
    parser.add_argument("dape", type=Path, help="DAPE.pth")
    parser.add_argument("-o", "--output", type=Path, required=True, help="dape.safetensors")
    parser.set_defaults(module="convert_dape")


def _add_recover(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(module="recover")
    parser.add_argument("reference", type=Path, help="picture file")
    parser.add_argument("-o", "--output", type=Path, required=True, help="picture file to write")
    parser.add_argument(
        "--fidelity", default="low_resolution", help="a measure of docs/fidelity.md"
    )
    parser.add_argument("--from", dest="start", choices=get_args(Start), default="noise")
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--learning-rate", type=float, default=0.02)
    parser.add_argument("--size", type=int, help="central square of this many pixels")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--weights", type=Path, help="the measure's weight file, or its folder")


def _version() -> str:
    try:
        return metadata.version("latent-map")
    except metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
