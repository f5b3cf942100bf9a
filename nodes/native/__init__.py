"""ComfyUI's own models as a backbone."""
