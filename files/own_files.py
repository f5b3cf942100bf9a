"""The pack's own weight files and their checksums."""

from pathlib import Path

from .checksums import sha256_of

PACK = Path(__file__).absolute().parents[1]
# SHA-256 of each; a file that is trained anew gets a new line here.
OWN = {
    "edict/backbones/pocket/denoiser.safetensors": (
        "fab44faf0ddcecd01453fa18a2272aadb4aaea5464f83e6a9f2e9d95ab0cba55"
    ),
    "fidelity/tables.safetensors": (
        "b9b56757527de5c65a8a92312bbacef25ae0d45a1d0a6182ad0b67cc687882d9"
    ),
    "iqa_priors/brisque_model.safetensors": (
        "65e77fbdc642737d4a2a0cd934065deee62ac5b4360142f0406e1acad76dad7f"
    ),
    "iqa_priors/niqe_parameters.safetensors": (
        "cfb5565075af8b99c71d7480b95f7a3f7a5862b9d4119b8ffe38b34a46538c01"
    ),
    "iqa_priors/pocket_prior.safetensors": (
        "55f68177b5edecbec66b08563e77498d5405d1a9b88813f0eaa478dc3b436fab"
    ),
}


def check_own(path: Path) -> None:
    """Raise ValueError if a file is one of the pack's own and not the one that came with it."""
    try:
        wanted = OWN.get(path.absolute().relative_to(PACK).as_posix())
    except ValueError:
        return  # somewhere else
    if wanted and path.is_file():
        digest = sha256_of(path)
        if digest != wanted:
            raise ValueError(f"its sha256 is {digest[:16]}... and should be {wanted[:16]}...")
