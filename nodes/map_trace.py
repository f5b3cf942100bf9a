"""Node: the traces of runs, plotted together, as numbers, saved."""

from pathlib import Path

import folder_paths
from comfy_api.latest import io, ui

from ..map_estimation.trace_table import plot_traces, trace_table, write_traces
from .schema_fields import found_as
from .session import plot_to_comfy
from .sockets import CATEGORY, MapTrace

SOCKETS = ("trace", "trace_b", "trace_c", "trace_d")


class CompareTraces(io.ComfyNode):
    """What became of quality, fidelity and energy, run beside run."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        others = [
            MapTrace.Input(name, optional=True, tooltip="Another run's trace, if you like.")
            for name in SOCKETS[1:]
        ]
        return io.Schema(
            node_id="DLM_MapTrace",
            display_name="Plot and Save Traces",
            category=CATEGORY,
            is_experimental=True,
            **found_as("trace, plot, curve, compare runs, CSV, convergence, loss curve"),
            description="Plots the traces of up to four runs together, iteration by iteration, as "
            "a table and, if wanted, a CSV file in output/latent_map.",
            is_output_node=True,
            inputs=[
                MapTrace.Input("trace", tooltip="From Post-Enhance or Latent MAP Optimizer."),
                *others,
                io.Boolean.Input(
                    "save",
                    default=False,
                    label_off="no file",
                    label_on="CSV file",
                    tooltip="Whether to write all numbers to a new file in output/latent_map.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="plot", tooltip="Each term and the energy, all runs in a panel."
                ),
                io.String.Output(
                    display_name="table",
                    tooltip="First, best and last iterate of each picture of each run.",
                ),
            ],
        )

    @classmethod
    def execute(cls, trace, save, trace_b=None, trace_c=None, trace_d=None) -> io.NodeOutput:
        """Plot, tabulate, save."""
        given = dict(zip(SOCKETS, (trace, trace_b, trace_c, trace_d), strict=True))
        runs = {
            name if len(pictures) == 1 else f"{name}, picture {number}": one
            for name, pictures in given.items()
            if pictures is not None
            for number, one in enumerate(pictures, 1)
        }
        table = trace_table(runs)
        if save:
            folder = Path(folder_paths.get_output_directory()) / "latent_map"
            table += f"\nsaved as {write_traces(runs, folder)}"
        plot = plot_to_comfy(plot_traces(runs))
        return io.NodeOutput(plot, table, ui=ui.PreviewText(table))
