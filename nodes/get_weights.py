"""Node: the weight files of a prior or a measure, fetched on request."""

import time
from pathlib import Path

import comfy.model_management as mm
import comfy.utils
from comfy_api.latest import io, ui

from ..fidelity.catalog import FIDELITIES
from ..files.catalog import CatalogRow, missing_files
from ..files.downloads import fetch_files
from ..files.packages import package_message
from ..iqa_priors.catalog import PRIORS
from .schema_fields import found_as
from .sockets import CATEGORY
from .weight_files import model_folders

THERE = " (there)"
UNPINNED = ", which is not pinned, but compared with the first time"
STEPS = 1000  # of the progress bar, which has whole numbers


class GetWeights(io.ComfyNode):
    """Downloads what is asked for, into models/iqa."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_GetWeights",
            display_name="Get Weights (latent MAP)",
            category=CATEGORY,
            is_experimental=True,
            **found_as("download, weights, model file, missing file, fetch"),
            description="Fetches the weight files of a quality model or a fidelity measure into "
            "models/iqa when it is run. Interrupting it is fine: the next run goes on from there.",
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "name",
                    options=_choices(),
                    default="prior: liqe_mix",
                    tooltip="Whose files. Those that are there already come last, and are checked.",
                )
            ],
            outputs=[
                io.String.Output(
                    display_name="report",
                    tooltip="Where each file is, its SHA-256, and its licence.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        """A name with and without the mark is one."""
        return (name or "").removesuffix(THERE) in _rows() or f"no files are known of {name!r}"

    @classmethod
    def fingerprint_inputs(cls, **_) -> float:
        """It runs each time it is asked for: files come and go."""
        return time.time()

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        """Fetch them."""
        name = name.removesuffix(THERE)
        row, bar = _rows()[name], comfy.utils.ProgressBar(STEPS)

        def report(have: int, total: int | None) -> None:
            mm.throw_exception_if_processing_interrupted()
            bar.update_absolute(STEPS * have // total if total else 0)

        pinned = {file.name: bool(file.sha256) for file in row.files}
        lines = [
            f"{path}: sha256 {digest}" + ("" if pinned[path.name] else UNPINNED)
            for path, digest in fetch_files(row.files, _folder(), report).items()
        ]
        lines += [f"licence: {row.licence}"]
        lines += [message] if (message := package_message(name, row.packages)) else []
        text = "\n".join(lines)
        return io.NodeOutput(text, ui=ui.PreviewText(text))


def _rows() -> dict[str, CatalogRow]:
    """What has files that somebody publishes, by kind and name."""
    kinds = {"prior": PRIORS, "fidelity": FIDELITIES}
    return {
        f"{kind}: {name}": row
        for kind, rows in kinds.items()
        for name, row in rows.items()
        if row.files and all(file.url for file in row.files)
    }


def _folder() -> Path:
    return model_folders()[0]


def _choices() -> list[str]:
    """Names for the list: first those whose files are missing."""
    rows, folders = _rows(), model_folders()
    there = {name: not missing_files(row, folders) for name, row in rows.items()}
    names = sorted(rows, key=lambda name: there[name])
    return [name + THERE if there[name] else name for name in names]
