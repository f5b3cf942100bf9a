"""Under what conditions an observer looked: what the browser says, and what was asked."""

import json
import math
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..files.json_files import NAME, read_rows, text
from ..files.written import write_atomically

# What is kept, and the largest number that it may be; 0 means a text.
KNOWN = {
    "screen_width": 100_000,
    "screen_height": 100_000,
    "window_width": 100_000,
    "window_height": 100_000,
    "device_pixel_ratio": 100,
    "pinch_zoom": 100,
    "colour_depth": 1000,
    "colour_gamut": 0,
    "pixels_verified": 0,
    "browser": 0,
    "language": 0,
    "lux": 200_000,
    "distance_mm": 20_000,
    "pixel_pitch_mm": 100,
    "screen_diagonal_inch": 1000,
}
RECORD = {"observer": NAME, "time": text()}
LONGEST_TEXT = 300
MOST_RECORDS = 200  # of one observer: a window that is being resized sends many


def checked_viewing(given: Mapping[str, Any]) -> dict[str, float | str]:
    """Those of the given facts that are known and possible; pixels per degree where they follow."""
    kept: dict[str, float | str] = {}
    for name, highest in KNOWN.items():
        value = given.get(name)
        if isinstance(value, bool):
            continue
        if highest and isinstance(value, int | float) and 0 < value <= highest:
            kept[name] = value
        elif not highest and isinstance(value, str) and value:
            # Half of a surrogate pair is a string of JavaScript's that no file can hold.
            kept[name] = value[:LONGEST_TEXT].encode(errors="replace").decode()
    pitch, distance = kept.get("pixel_pitch_mm"), kept.get("distance_mm")
    if isinstance(pitch, int | float) and isinstance(distance, int | float):
        kept["pixels_per_degree"] = round(pixels_per_degree(pitch, distance), 2)
    return kept


def pixels_per_degree(pitch_mm: float, distance_mm: float) -> float:
    """Pixels of that pitch in one degree of the visual angle, in the middle of the screen.

    0.25 mm at 458 mm are 32.
    """
    return 2 * distance_mm * math.tan(math.radians(0.5)) / pitch_mm


def add_viewing(file: Path, observer: str, given: Mapping[str, Any]) -> None:
    """Add a record to a session's viewing.json, unless it says what the observer's last one said.

    Raises: ValueError if the file is damaged; OSError if it cannot be written.
    """
    remedy = "mend it, or move it away"
    records = (
        read_rows(file, "record of a screen", RECORD, tuple(RECORD), remedy)
        if file.exists()
        else []
    )
    of_observer = [record for record in records if record["observer"] == observer]
    facts = checked_viewing(given)
    if len(of_observer) >= MOST_RECORDS or (of_observer and _facts(of_observer[-1]) == facts):
        return
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    records.append({"observer": observer, "time": now, **facts})
    write_atomically(file, json.dumps(records, indent=1, ensure_ascii=False).encode())


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in ("observer", "time")}
