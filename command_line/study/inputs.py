"""The prepared pictures of a study, with a bar while they are made."""

import logging

from tqdm import tqdm

from ...comparison.preparation import Input, find_sources, prepare_pictures
from ...comparison.study_file import Study, check_rooms
from ...files.pictures import left_out

log = logging.getLogger(__name__)


def prepare(study: Study) -> list[Input]:
    """Prepare what is not prepared yet."""
    check_rooms(study)
    folder = study.pictures.folder
    if missed := left_out(folder).partition(" (--rec")[0]:
        log.warning("%s: left out %s", folder, missed)
    count = len(find_sources(study.pictures))
    steps = prepare_pictures(study.pictures, study.inputs)
    return list(tqdm(steps, desc="preparing", total=count, unit="picture", disable=None))
