"""latent-map study select: which results are shown, Eq. (18)."""

from dataclasses import dataclass
from pathlib import Path

from ..arguments import argument, option
from ..device import check_device, device_option


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which study."""

    study: Path = argument("STUDY.toml: see docs/study.md")
    allow_missing: bool = option(
        "choose among what is there, though some results are missing", default=False
    )
    device: str = device_option()


def run(options: Options) -> int:
    """Choose the pictures on which two entrants disagree most, and write pairs.csv.

    Returns: 0.
    """
    from tqdm import tqdm

    from ...comparison.jobs import plan_jobs
    from ...comparison.own_tables import check_own_table
    from ...comparison.preparation import read_inputs
    from ...comparison.selection import COLUMNS, NOTE, finished_results, select_pairs, write_pairs
    from ...comparison.study_file import check_rooms, load_study
    from ...files.written import check_folder

    check_device(options.device)
    study = load_study(options.study)
    check_rooms(study)
    inputs = read_inputs(study.inputs)
    jobs = plan_jobs(study, inputs, options.device)
    results = finished_results(jobs)
    missing = len(jobs) - sum(map(len, results.values()))
    if not inputs or (missing and not options.allow_missing):
        raise ValueError(
            f"{missing or 'all'} results of {study.file} are missing: make them with `latent-map "
            f"study run {study.file}`, or choose among the others with --allow-missing"
        )
    check_folder(study.folder)
    check_own_table(study.pairs, COLUMNS)
    count = len(study.entrants) * (len(study.entrants) - 1) // 2
    with tqdm(total=count, desc="comparing", unit="pair", disable=None) as bar:
        shown, reports = select_pairs(study, inputs, results, options.device, bar.update)
    write_pairs(study, shown, reports, results)
    for report in reports:
        name = f"{report.model_a} / {report.model_b}"
        print(
            f"{name}: {report.chosen} of {report.candidates} pictures; {report.identical} "
            f"identical, {report.failed} without a result"
        )
    print(f"{study.pairs}: {len(shown)} pairs to be shown. {NOTE}")
    return 0
