"""Preparation of a study's pictures: the short side to a size, the centre square, PNG."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms
from torch import Tensor

from ..files.json_files import NAME, read_rows, whole
from ..files.pictures import Picture, find_pictures, read_picture, to_image, write_image
from ..files.reading import said
from ..files.written import check_folder, write_atomically
from .hashing import file_hash
from .picture_names import flaw_of_name
from .pictures_settings import PicturesSettings

MANIFEST = "inputs.json"
ROW = {
    **dict.fromkeys(("picture", "source", "source_sha256", "sha256"), NAME),
    "side": whole(0, 1_000_000),
    **dict.fromkeys(("width", "height"), whole(1, 1_000_000)),
}
EXCLUDE_COLUMNS = ("picture", "reason")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Input:
    """A prepared picture.

    Attributes:
        picture: its name: the source's without suffix.
        source: the file's name.
        source_sha256: of the file it was made from.
        side: as in `PicturesSettings`.
        width, height: in pixels.
        sha256: of the prepared file.
    """

    picture: str
    source: str
    source_sha256: str
    side: int
    width: int
    height: int
    sha256: str


def prepare_pictures(settings: PicturesSettings, folder: Path) -> Iterator[Input]:
    """Prepare the pictures of a study; those that are prepared already are left as they are.

    Args:
        settings: which, and how.
        folder: what they are written to, as PICTURE.png, with a list of them.
    Returns: each, in the order of names, as soon as it is there.
    Raises: ValueError for files that cannot be used, before any work where that is possible.
    """
    sources = find_sources(settings)
    _claim(folder)
    known = {each.picture: each for each in read_inputs(folder)}
    inputs: list[Input] = []
    for picture, source in sources.items():
        target = folder / f"{picture}.png"
        before, wanted = known.get(picture), file_hash(source)
        if before is None or not _is_current(before, target, wanted, settings.side):
            before = _prepare(picture, source, target, settings.side)
        inputs.append(before)
        yield before
    content = json.dumps([asdict(each) for each in inputs], indent=1)
    write_atomically(folder / MANIFEST, content.encode())


def find_sources(settings: PicturesSettings) -> dict[str, Path]:
    """The picture files of a study by their names without suffix, but for the excluded ones.

    Raises: ValueError if there are none, or for names that differ in nothing but suffix or case, or
        that no table can hold.
    """
    if not settings.folder.is_dir():
        raise ValueError(f"there is no folder {settings.folder}: check [pictures]")
    excluded = {} if settings.exclude is None else read_excluded(settings.exclude)
    named: dict[str, Path] = {}
    for file in find_pictures(settings.folder):
        if flaw := flaw_of_name(file.stem):
            raise ValueError(f"{settings.folder} holds {file.name!r}, which has {flaw}: rename it")
        other = named.setdefault(file.stem.casefold(), file)
        if other is not file:
            raise ValueError(
                f"{other.name} and {file.name} are one picture by their names: rename one of them"
            )
    stems = {file.stem for file in named.values()}
    if unknown := sorted(excluded.keys() - stems):
        raise ValueError(
            f"{settings.exclude} excludes {unknown[0]!r}, which is no picture of "
            f"{settings.folder}: write names without suffix"
        )
    sources = {file.stem: file for file in named.values() if file.stem not in excluded}
    if not sources:
        raise ValueError(f"{settings.exclude} excludes every picture: keep some")
    return sources


def read_excluded(path: Path) -> dict[str, str]:
    """Why pictures are left out, by picture, of a CSV file with these two columns.

    Raises: ValueError if it is none, or gives no reason.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"cannot read {path} ({said(error)}): give a CSV file") from error
    excluded = {}
    for number, row in enumerate(rows, 2):
        picture, reason = ((row.get(name) or "").strip() for name in EXCLUDE_COLUMNS)
        if not picture or not reason:
            raise ValueError(
                f"{path}, line {number}: give a picture and a reason, in columns of these names"
            )
        excluded[picture] = reason
    return excluded


def read_inputs(folder: Path) -> list[Input]:
    """The list of prepared pictures; empty where there is none, or it is damaged."""
    try:
        rows = read_rows(folder / MANIFEST, "picture", ROW, tuple(ROW), "prepare again")
    except (OSError, ValueError) as error:
        log.debug("%s", error)
        return []
    return [Input(**{name: row[name] for name in ROW}) for row in rows]


def _claim(folder: Path) -> None:
    """Make the folder, with the list that says it is a study's, before any picture is in it.

    Raises: ValueError for a folder of someone else's pictures, which would be replaced.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise ValueError(
            f"{folder} was not made by a study (it has no {MANIFEST}) and its files would be "
            'replaced: choose another folder = "..." for the study'
        )
    check_folder(folder)
    if not (folder / MANIFEST).exists():
        write_atomically(folder / MANIFEST, b"[]")


def _is_current(before: Input, target: Path, source_sha256: str, side: int) -> bool:
    made_from = (before.source_sha256, before.side) == (source_sha256, side)
    return made_from and target.is_file() and file_hash(target) == before.sha256


def _prepare(picture: str, source: Path, target: Path, side: int) -> Input:
    pixels = to_srgb(read_picture(source), source)
    image = centre_square(to_image(pixels), side)
    write_image(target, image)
    hashes = {"source_sha256": file_hash(source), "sha256": file_hash(target)}
    return Input(picture, source.name, side=side, width=image.width, height=image.height, **hashes)


def centre_square(image: Image.Image, side: int) -> Image.Image:
    """The centre square of a picture scaled to a short side; bicubic, antialiased.

    Args:
        image: RGB.
        side: in pixels; 0 leaves the picture as it is.
    Source: Zhang et al., arXiv 2403.06406, Section IV-A.
    """
    if side == 0:
        return image
    scale = side / min(image.size)
    width, height = (max(side, round(scale * length)) for length in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def to_srgb(picture: Picture, file: Path) -> Tensor:
    """A picture's pixels in sRGB, as priors and the page take all pictures to be.

    Raises: ValueError if its colour profile cannot be used.
    """
    if picture.profile is None:
        return picture.pixels
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(picture.profile))
        image = to_image(picture.pixels)
        ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), inPlace=True)
    except (ImageCms.PyCMSError, OSError) as error:
        raise ValueError(
            f"{file}: its colour profile cannot be used ({error}): convert it to sRGB"
        ) from error
    values = np.asarray(image, np.float32) / 255
    return picture.pixels.new_tensor(values).permute(2, 0, 1)[None]
