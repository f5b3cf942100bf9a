"""The commands of a study, `latent-map study NAME`: a file and a line each, as the others."""

COMMANDS: dict[str, str] = {
    "prepare": "scale and crop the pictures",
    "run": "make every entrant's results",
    "score": "score every result by every judge",
    "select": "choose what is shown",
    "serve": "let people compare",
    "analyse": "rank entrants by votes, with tests and a report",
    "demo": "a whole small study, with simulated observers",
}
