"""Run checks of ComfyUI's own models as backbones, one JSON line each.

    COMFYUI_PATH=~/ComfyUI python tests/comfyui/native.py CHECK[:OPTION...] ...

e.g. `gradient:sd15:4:control` or `trap_attention`: functions of native_checks.py, native_graphs.py,
native_kept.py, native_tiling.py, native_traps.py; `parity` of native_parity.py, which needs
diffusers beside it.
"""

import json
import sys

if __name__ == "__main__":
    arguments = sys.argv[1:]
    import native_process  # noqa: F401, I001 - sets up the process for those below
    import native_checks
    import native_graphs
    import native_kept
    import native_tiling
    import native_traps

    checks = vars(native_checks) | vars(native_graphs) | vars(native_kept)
    checks |= vars(native_tiling) | vars(native_traps)
    if any(argument.startswith("parity") for argument in arguments):
        import native_parity

        checks |= vars(native_parity)
    for argument in arguments:
        name, *options = argument.split(":")
        found = checks[f"check_{name}"](*options)
        print(json.dumps({"check": argument, **found}), flush=True)
