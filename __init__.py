"""Latent MAP: diffusion latent MAP estimation for ComfyUI and Python (arXiv 2403.06406)."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """ComfyUI's entry point (V3): the nodes of the pack."""
    from .nodes import LatentMapExtension

    return LatentMapExtension()
