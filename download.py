"""Fetch the weights of a prior or a fidelity measure, on request, to where the pack looks for them.

    python download.py             what there is
    python download.py NAME        into ComfyUI's models/iqa, if this folder is in custom_nodes

Run it with ComfyUI's own Python; the folder may have any name.
"""

import argparse
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).absolute().parent
PACK = "latent_map"


def main(arguments: list[str] | None = None) -> int:
    """Fetch what is named.

    Returns: 0; 2 for an unknown name, 3 where a file could not be fetched.
    """
    parser = argparse.ArgumentParser(prog="download.py", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", nargs="?", help="a prior or a measure; without one, a list")
    parser.add_argument("--folder", type=Path, default=_models_folder(), help="default %(default)s")
    given = parser.parse_args(arguments)
    _load_pack()
    kinds = _rows_with_files()
    if given.name is None:
        for kind, rows in kinds.items():
            for name, row in rows.items():
                print(f"{kind:9} {name:24} {sum(file.size_mb for file in row.files):6.0f} MB")
        return 0
    kind = next((kind for kind, rows in kinds.items() if given.name in rows), None)
    if kind is None:
        print(f"nothing to fetch for {given.name!r}: see python {__file__}", file=sys.stderr)
        return 2
    folder = ["--folder", str(given.folder)] if given.folder else []
    command = importlib.import_module(f"{PACK}.__main__")
    return command.main([f"download-{kind}", given.name, *folder])


def _models_folder() -> Path | None:
    """ComfyUI's folder for weights of quality models; None where this is no custom node."""
    return HERE.parents[1] / "models" / "iqa" if HERE.parent.name == "custom_nodes" else None


def _load_pack() -> None:
    """Make this folder importable under the pack's name, whatever its own is."""
    if PACK in sys.modules:
        return
    file, places = HERE / "__init__.py", [str(HERE)]
    spec = importlib.util.spec_from_file_location(PACK, file, submodule_search_locations=places)
    if spec is None or spec.loader is None:
        raise ImportError(f"no pack at {HERE}: this script belongs into the pack's own folder")
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = module
    spec.loader.exec_module(module)


def _rows_with_files() -> dict[str, dict[str, Any]]:
    """What has files that somebody publishes, by kind."""
    priors = importlib.import_module(f"{PACK}.iqa_priors.catalog").PRIORS
    measures = importlib.import_module(f"{PACK}.fidelity.catalog").FIDELITIES
    return {
        kind: {
            name: row for name, row in rows.items() if row.files and all(f.url for f in row.files)
        }
        for kind, rows in (("prior", priors), ("fidelity", measures))
    }


if __name__ == "__main__":
    sys.exit(main())
