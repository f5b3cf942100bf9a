"""The commands of a study, `latent-map study NAME`: a file and a line each, as the others."""

COMMANDS: dict[str, str] = {}
