"""Node: a backbone from ComfyUI's own model."""

from comfy_api.latest import io

from ..edict.choices import Acceleration
from .schema_fields import found_as
from .session import outside_inference_mode
from .shared_inputs import advanced, control_strength, guidance
from .sockets import CATEGORY, Backbone


class BackboneFromModel(io.ComfyNode):
    """Any checkpoint that ComfyUI loads, for the other nodes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_BackboneFromModel",
            display_name="Backbone from Model (SD, SDXL, Flux)",
            category=CATEGORY,
            is_experimental=True,
            **found_as(
                "backbone, diffusion model, Stable Diffusion, ControlNet, tile, LoRA, prompt"
            ),
            description="Makes a backbone of a checkpoint that ComfyUI has loaded: Stable "
            "Diffusion 1.5, 2.x, SDXL and rectified-flow image models, with LoRAs and ControlNets.",
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The diffusion model. LoRAs and ModelSampling nodes before it count.",
                ),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Conditioning.Input(
                    "positive",
                    tooltip="The prompt; an empty one is the paper's choice. It may carry "
                    "ControlNets, which keep their own pictures.",
                ),
                guidance(),
                control_strength("strength"),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="The negative prompt; needed, and looked at, only if cfg is not 1.",
                ),
                io.ControlNet.Input(
                    "control_net",
                    optional=True,
                    tooltip="A ControlNet that holds the model to the picture, e.g. a tile one. "
                    "Its control image is the picture being enhanced.",
                ),
                advanced(
                    io.Combo.Input(
                        "acceleration",
                        options=["none", "graph"],
                        default="none",
                        optional=True,
                        tooltip="How the network is called. none: plainly. graph: replayed as CUDA "
                        "graphs: the same bits, sooner; for Stable Diffusion and SDXL with nothing "
                        "attached by other nodes, wholly in graphics memory. Not yet run on a GPU "
                        "by its authors, so each is compared with a plain call at first; what "
                        "fails goes on plainly.",
                    )
                ),
            ],
            outputs=[
                Backbone.Output(
                    display_name="backbone",
                    tooltip="The model, for EDICT Invert and Post-Enhance.",
                )
            ],
        )

    @classmethod
    @outside_inference_mode
    def execute(
        cls,
        model,
        vae,
        positive,
        cfg,
        strength,
        negative=None,
        control_net=None,
        acceleration: Acceleration = "none",
    ) -> io.NodeOutput:
        """Wrap it; the weights are loaded when a node uses them."""
        from .native.backbone import NativeBackbone  # the samplers, which schemas do not need
        from .native.conditioning import Conditioning

        conditioning = Conditioning(positive, negative, cfg, control_net, strength)
        return io.NodeOutput(NativeBackbone(model, vae, conditioning, acceleration))
