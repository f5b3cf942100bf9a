"""latent-map enhance: a picture, or a folder's pictures, made better."""

import json

from .enhance_options import Options
from .failures import FAILED


def run(options: Options) -> int:
    """Enhance a picture, or a folder's pictures one after the other; a failing one is passed over.

    Returns: 0, 3 if a picture failed, 2 if a single one could not be worked on, 130 after Ctrl-C.
    """
    from ..fidelity.loading import load_fidelity
    from ..files.written import write_atomically
    from .enhance_jobs import Tools, enhance_jobs
    from .plan import plan

    settings = options.settings()
    fidelity = load_fidelity(options.fidelity, options.device)
    prior = options.prior.load(options.device)
    loading = options.backbone.checked()
    jobs, reports = plan(options, prior, fidelity if settings.use_fidelity else None)
    code = FAILED if any("error" in report for report in reports.values()) else 0
    tools = Tools(loading.load(options.device), prior, fidelity, settings)
    try:
        return enhance_jobs(jobs, tools, options, reports) or code
    finally:
        if options.report:
            write_atomically(options.report, json.dumps(reports, indent=1).encode())
