"""Node: what an interrupted run has left."""

from comfy_api.latest import io, ui

from ..map_estimation.report import plot_trace
from ..map_estimation.resume import best_of
from .kept_runs import kept_states, states_folder
from .schema_fields import found_as
from .session import outside_inference_mode, plot_to_comfy, to_comfy
from .sockets import CATEGORY, MapState, MapTrace

NOTHING = "none kept"


class LoadMapState(io.ComfyNode):
    """The best picture of a run that was interrupted, and the way to go on with it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_LoadMapState",
            display_name="Load MAP State",
            category=CATEGORY,
            is_experimental=True,
            **found_as("resume, interrupted, cancelled, best so far, checkpoint, go on"),
            description="Loads what an interrupted Post-Enhance or Latent MAP Optimizer has left "
            "in output/latent_map: the best picture so far, and the state that it goes on from.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=kept_states() or [NOTHING],
                    default=(kept_states() or [NOTHING])[0],
                    tooltip="A state in output/latent_map, the newest first.",
                )
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The best picture so far."),
                MapState.Output(
                    display_name="state",
                    tooltip="For the node that left it, Post-Enhance or Latent MAP Optimizer, with "
                    "the same picture and settings.",
                ),
                MapTrace.Output(display_name="trace", tooltip="The trace so far."),
                io.Image.Output(display_name="trace plot", tooltip="The trace as a picture."),
            ],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        """Say what is there."""
        if name in kept_states():
            return True
        return f"no state {name!r} in {states_folder()}: {', '.join(kept_states()) or NOTHING}"

    @classmethod
    def fingerprint_inputs(cls, name=None) -> str:
        """A state of the same name may have been written anew."""
        path = states_folder() / str(name)
        return str(path.stat().st_mtime_ns) if path.exists() else ""

    @classmethod
    @outside_inference_mode
    def execute(cls, name: str) -> io.NodeOutput:
        """Read the file and prove it whole."""
        path = states_folder() / name
        picture, trace, inverted = best_of(path)
        left_by = "Latent MAP Optimizer" if inverted else "Post-Enhance"
        quality = f"quality {trace[-1].quality:.4f} in the last"
        text = f"{name}: left by {left_by}, {len(trace)} iterates, {quality}"
        return io.NodeOutput(
            to_comfy(picture),
            path,
            [trace],
            plot_to_comfy(plot_trace(trace)),
            ui=ui.PreviewText(text),
        )
