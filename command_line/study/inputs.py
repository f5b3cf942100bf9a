"""The prepared pictures of a study, with a bar while they are made."""

from tqdm import tqdm

from ...comparison.preparation import Input, find_sources, prepare_pictures
from ...comparison.study_file import Study, check_rooms


def prepare(study: Study) -> list[Input]:
    """Prepare what is not prepared yet."""
    check_rooms(study)
    count = len(find_sources(study.pictures))
    steps = prepare_pictures(study.pictures, study.inputs)
    return list(tqdm(steps, desc="preparing", total=count, unit="picture", disable=None))
