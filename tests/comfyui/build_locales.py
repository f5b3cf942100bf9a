"""Write locales/*/nodeDefs.json, the texts of the nodes in ComfyUI's own format.

    python tests/comfyui/build_locales.py [--translated]

English is what the schemas say (tests/data/object_info.json); others are made of
locales/LANGUAGE/words.json (`names` of inputs and outputs, `nodes` with title and description) and
of tooltips.json beside it. translated.json holds digests of the English texts that those were made
of; where one has changed, look at its translation, then say so with --translated.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOCALES = ROOT / "locales"
Texts = dict[str, Any]


def recorded() -> dict[str, Texts]:
    """The nodes' schemas."""
    return json.loads((ROOT / "tests" / "data" / "object_info.json").read_text())["nodes"]


def inputs_of(node: Texts) -> list[list]:
    """Each input as [name, type, options]."""
    return [entry for group in node["inputs"].values() for entry in group]


def key(name: str) -> str:
    """A name as the frontend looks it up: dots would lead deeper."""
    return name.replace(".", "_")


def english(nodes: dict[str, Texts]) -> Texts:
    """What the schemas say."""
    return {
        name: {
            "display_name": node["display_name"],
            "description": node["description"],
            "inputs": {
                key(label): {"name": label, "tooltip": options["tooltip"]}
                for label, _, options in inputs_of(node)
            },
            "outputs": {
                str(index): {"name": label, "tooltip": tooltip}
                for index, (label, tooltip) in enumerate(
                    zip(node["output_name"], node["tooltips"], strict=True)
                )
            },
        }
        for name, node in nodes.items()
    }


def translated(nodes: dict[str, Texts], words: Texts, tooltips: Texts) -> Texts:
    """Titles, descriptions, labels and tooltips in another language."""
    made = {}
    for name, node in nodes.items():
        title, description = words["nodes"][name]
        said = tooltips[name]
        made[name] = {
            "display_name": title,
            "description": description,
            "inputs": {
                key(label): {"name": words["names"][label], "tooltip": said["inputs"][label]}
                for label, *_ in inputs_of(node)
            },
            "outputs": {
                str(index): {"name": words["names"][label], "tooltip": tooltip}
                for index, (label, tooltip) in enumerate(
                    zip(node["output_name"], said["outputs"], strict=True)
                )
            },
        }
    return made


def locales() -> dict[str, Texts]:
    """All of them by language."""
    nodes = recorded()
    made = {"en": english(nodes)}
    for path in LOCALES.glob("*/words.json"):
        texts = (path, path.with_name("tooltips.json"))
        words, tooltips = (json.loads(text.read_text(encoding="utf-8")) for text in texts)
        made[path.parent.name] = translated(nodes, words, tooltips)
    return made


def digests(texts: Texts) -> dict[str, str]:
    """What each text of a language is, by its place."""
    found = {}
    for name, node in texts.items():
        said = {"description": node["description"]}
        for kind in ("inputs", "outputs"):
            said |= {f"{kind}.{label}": text["tooltip"] for label, text in node[kind].items()}
        for place, text in said.items():
            found[f"{name}.{place}"] = hashlib.sha256(text.encode()).hexdigest()[:8]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--translated", action="store_true", help="all translations are right")
    are_right = parser.parse_args().translated
    for language, texts in locales().items():
        (LOCALES / language).mkdir(parents=True, exist_ok=True)
        text = json.dumps(texts, ensure_ascii=False, indent=1) + "\n"
        (LOCALES / language / "nodeDefs.json").write_text(text, encoding="utf-8")
        if are_right and language != "en":
            seen = json.dumps(digests(locales()["en"]), indent=1) + "\n"
            (LOCALES / language / "translated.json").write_text(seen, encoding="utf-8")
