"""Make the sample photograph of the quick start: a degraded 384 px crop of a Kodak photograph.

python -m training.make_sample KODAK.png LEFT TOP OUT.png
"""

import sys
from pathlib import Path

import numpy as np
from latent_map.files.distinct import check_distinct
from latent_map.files.pictures import read_array
from PIL import Image

from training.degradations import degrade

SIDE = 384
SEVERITIES = {"blur": 0.2, "noise": 0.45, "jpeg": 0.15}


def main() -> None:
    """Crop, degrade, save."""
    source, left, top, target = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    check_distinct((Path(target),), (source,))
    photograph = read_array(source).astype(np.float32) / 255
    crop = np.ascontiguousarray(photograph[top : top + SIDE, left : left + SIDE])
    degraded = degrade(crop, SEVERITIES, np.random.default_rng(1))
    Image.fromarray((degraded * 255).round().astype(np.uint8)).save(target)


if __name__ == "__main__":
    main()
