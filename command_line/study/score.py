"""latent-map study score: every judge's score of every result."""

from dataclasses import dataclass
from pathlib import Path

from ..arguments import argument, option
from ..device import check_device, device_option


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which study, and by which judges."""

    study: Path = argument("STUDY.toml: see docs/study.md")
    judges: tuple[str, ...] = option(
        "further priors of docs/priors.md; those of the entrants always score", default=()
    )
    device: str = device_option()


def run(options: Options) -> int:
    """Score every result by every entrant's judge, for the analysis, and write scores.csv.

    What was made with a judge should be best by it: where it is not, its optimisation did not work,
    and what people say of it says nothing of the judge. Interrupted, the same command goes on.
    Returns: 0.
    """
    from tqdm import tqdm

    from ...comparison.jobs import plan_jobs
    from ...comparison.judging import SCORES, Score, scores_text
    from ...comparison.own_tables import check_own_table
    from ...comparison.preparation import read_inputs
    from ...comparison.scoring import check_judges, score_results
    from ...comparison.selection import finished_results
    from ...comparison.study_file import check_rooms, load_study
    from ...files.written import check_folder, write_atomically

    check_device(options.device)
    study = load_study(options.study)
    check_rooms(study)
    inputs = read_inputs(study.inputs)
    sizes = {each.picture: (each.width, each.height) for each in inputs}
    further = tuple(name for each in options.judges for name in each.replace(",", " ").split())
    judges = check_judges(study, further, sizes)
    results = finished_results(plan_jobs(study, inputs, options.device))
    if not results:
        raise ValueError(
            f"there are no results of {study.file}: make them with `latent-map study run "
            f"{study.file}`"
        )
    check_folder(study.folder)
    check_own_table(study.folder / SCORES, Score._fields)
    count, scores = len(judges) * sum(map(len, results.values())), []
    try:
        steps = score_results(study, results, judges, options.device)
        for score in tqdm(steps, desc="scoring", total=count, unit="score", disable=None):
            scores.append(score)  # one by one: what is done is kept when the next is interrupted
    finally:
        if scores:
            write_atomically(study.folder / SCORES, scores_text(scores).encode())
    print(f"{study.folder / SCORES}: {len(scores)} scores by {', '.join(judges)}")
    return 0
