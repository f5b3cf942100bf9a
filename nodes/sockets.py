"""The pack's own socket types."""

from comfy_api.latest import io

CATEGORY = "image/latent MAP"

Backbone = io.Custom("BACKBONE")
EdictLatents = io.Custom("EDICT_LATENTS")
IqaPrior = io.Custom("IQA_PRIOR")
Fidelity = io.Custom("FIDELITY")
Regions = io.Custom("MAP_REGIONS")
MapState = io.Custom("MAP_STATE")
MapTrace = io.Custom("MAP_TRACE")
