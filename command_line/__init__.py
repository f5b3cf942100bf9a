"""The command line's commands, one file each: its arguments, and its run.

A command's file is named after it and holds `Options`, a frozen dataclass of arguments, and
`run(options)`, which returns the exit code. What needs torch is imported in `run`, so that --help
is quick. A group of commands is a folder of such files, whose `COMMANDS` lists them.
"""

from .study import COMMANDS as STUDY

COMMANDS = {
    "enhance": "make pictures better",
    "score": "print quality scores",
    "invert": "picture to noise, exactly",
    "reconstruct": "noise to picture",
    "train-ms-liqe": "train the paper's quality model",
    "calibrate": "fit a prior's logistic, Eq. (21)",
    "download": "fetch a checkpoint, if you say so",
    "convert-dape": "SeeSR's pickles to safetensors",
    "recover": "what one fidelity measure leads back to",
    "download-prior": "get the weights of a prior",
    "download-fidelity": "get the weights of a fidelity",
    "study": "which prior, or restorer, makes the better pictures",
}
GROUPS = {"study": STUDY}
