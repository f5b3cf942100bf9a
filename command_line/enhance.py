"""latent-map enhance: a picture, or a folder's pictures, made better."""

from .enhance_options import Options
from .failures import FAILED


def run(options: Options) -> int:
    """Enhance a picture, or a folder's pictures one after the other; a failing one is passed over.

    Returns: 0, 3 if a picture failed, 2 if a single one could not be worked on, 130 after Ctrl-C
        (143 and 129 where it was asked to end otherwise).
    """
    from ..fidelity.loading import load_fidelity
    from ..files.written import is_stream
    from ..map_estimation.enhancer import Enhancer
    from ..map_estimation.graphed_judge import graphed_judge
    from .enhance_jobs import enhance_jobs, write_report
    from .plan import plan

    settings = options.settings()
    fidelity = load_fidelity(options.fidelity, options.device)
    prior = options.prior.load(options.device)
    loading = options.backbone.checked()
    jobs, reports = plan(options, prior, fidelity if settings.use_fidelity else None)
    code = FAILED if any("error" in report for report in reports.values()) else 0
    backbone = loading.load(options.device)  # refuses graphs where there are none
    judge = graphed_judge(prior) if loading.acceleration == "graph" else prior
    enhancer = Enhancer(backbone, judge, fidelity, settings)
    try:
        return enhance_jobs(jobs, enhancer, options, reports) or code
    finally:
        if options.report:
            write_report(options.report, reports)
            if not is_stream(options.report):
                of = next(iter(reports)) if len(reports) == 1 else f"{len(reports)} pictures"
                print(f"{options.report}: report of {of}")
