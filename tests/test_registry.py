"""The registry: what it prints, and that a study of all of it is there."""

import yaml

from stages.common import params, variants
from tests.conftest import ROOT


def test_the_registry_is_printed(study):
    study.prepare()
    lines = study.ok("python", "-m", "stages.train.registry").splitlines()
    rows = {line.split(" | ")[0].removeprefix("| "): line.strip("| ").split(" | ") for line in lines[2:]}
    assert list(rows) == list(variants.FUSIONS)
    columns = lines[0].strip("| ").split(" | ")
    assert columns == ["fusion", "system", "modalities", "T", "V", "A", "T+V", "T+A", "V+A", "T+V+A", "source"]
    found = {fusion: dict(zip(columns, row, strict=True)) for fusion, row in rows.items()}
    assert found["late"]["modalities"] == "2 or more"
    assert (found["amh"]["modalities"], found["amh"]["T+V"], found["mha"]["modalities"]) == ("3", "–", "2")
    assert found["self"]["source"] == "Rajan et al., ICASSP 2022"
    assert all(row["source"] for row in found.values())

    def count(fusion: str, modalities: str) -> int:
        return int(found[fusion][modalities].replace(",", ""))

    assert count("late", "T+V+A") == sum(count("self", own) for own in "TVA")
    # An encoder of 16 features, two directions of 6 units, three gates with two biases; attention; the classifier.
    width, own = 2 * 6, 2 * 3 * (6 * (16 + 6) + 2 * 6)
    attention, classifier = 4 * width * (width + 1), 60 * (width + 1) + 7 * 61
    time_map = 2 * 4 + 2  # 4 frames to 2
    assert count("self", "A") == own + time_map + attention + classifier
    assert count("prior", "V+A") == 0


def test_the_systems_study_is_the_default_one_but_for_its_models():
    default, systems = (yaml.safe_load((ROOT / name).read_text()) for name in ("params.yaml", "docs/systems.yaml"))
    assert {key for key in default if default[key] != systems[key]} == {"variants", "references"}
    assert list(default) == list(systems)
    config = params.load(ROOT / "docs/systems.yaml")
    papers_alone = {"cross_nosp", "self_nosp", "crossself"}
    assert {variants.parse(name).fusion for name in config.models} == set(variants.FUSIONS) - papers_alone
