"""`python -m stages.plan`: check all params and the registry, then write `data/plans/<variant>.json`.

Beside them, in `data/plans/features/<modality>.json`, is what a modality's features depend on but the corpus.

DVC removes a stage's outputs and runs its command with the values of `params.yaml` in both. Nothing of that may happen
before they are checked: so every train stage depends on its plan, and every stage `features` on `CHECKED`.
"""

import functools
import json
from pathlib import Path

from stages.common import cli, code, files, fusion_settings, params, plan, tuning, variants

TRAINING = "stages.train.protocol"
OUTPUTS = "stages.train.outputs"
"""What writes a train stage's outputs: if it alone changes, they are written again from the results in `.work/`."""
CHOICE = "stages.train.choice"
"""What chooses among draws, where a study is tuned."""

FEATURES = "features"
"""Beside the plans, the folder of what each modality's features depend on."""
CHECKED = Path("data/checked.txt")
"""Always the same, so that no stage is stale for it."""


def main() -> None:
    """Write a plan for each variant of the study."""
    config = params.load()
    variants.check()
    drawn = config.drawn()
    with files.replacing(plan.FOLDER) as folder:
        folder.mkdir()
        for variant in config.variants:
            files.write_text(folder / f"{variant}.json", tuned(variant, config, drawn).as_json())
        for modality in config.modalities:
            settings = config.extractor(modality)
            content = json.dumps(settings.model_dump() if settings else {}, indent=1) + "\n"
            files.write_text(folder / FEATURES / f"{modality}.json", content)
    files.write_text(CHECKED, "All keys of params.yaml keep their rules.\n")


def make(variant: str, config: params.Params) -> plan.Plan:
    """The plan of a variant."""
    parsed = variants.parse(variant)
    modalities = [
        plan.Modality(name=name, **modality.model_dump(include=set(plan.Entry.model_fields)))
        for name, modality in config.modalities.items()
        if modality.letter in parsed.modalities
    ]
    training = code.hashes([TRAINING, f"stages.train.fusions.{parsed.fusion}"])
    outputs = code.hashes([OUTPUTS])
    return plan.Plan(
        task=config.task,
        modalities=modalities,
        fusion=plan.Fusion(name=parsed.fusion, settings=config.settings(parsed.fusion)),
        model=plan.Sizes(**config.model.model_dump(include=set(plan.Sizes.model_fields))),
        protocol=config.train.protocol,
        precision=config.train.precision,
        device=config.train.device,
        save_weights=config.train.save_weights,
        training_code=training,
        output_code={name: own for name, own in outputs.items() if name not in training},
    )


def tuned(variant: str, config: params.Params, drawn: list[params.Params]) -> tuning.Tuned:
    """The plan of a variant with its draws, those of `drawn`: `config.drawn()`."""
    own = make(variant, config).model_dump()
    if drawn:
        chooses = code.hashes([CHOICE])
        own["output_code"] |= {name: each for name, each in chooses.items() if name not in own["training_code"]}
    return tuning.Tuned(**own, draws=[_draw(variant, config, each) for each in drawn])


def _draw(variant: str, config: params.Params, drawn: params.Params) -> tuning.Draw:
    """A draw, as params, and what it makes of a variant."""
    made, document = make(variant, drawn), drawn.model_dump(exclude_unset=True)
    settings = {
        key: functools.reduce(lambda section, name: section[name], key.split("."), document)
        for key in config.tune.ranges
        if _has(made, key, drawn)
    }
    sections = made.model_dump(include=set(tuning.Draw.model_fields))
    return tuning.Draw(settings=settings, **sections)


def _has(made: plan.Plan, key: str, drawn: params.Params) -> bool:
    """Whether a variant of this plan has the setting `key`."""
    section, *names = key.split(".")
    fusion = made.fusion.name
    if section == "modalities":
        return names[0] in made.names
    if section == "fusions":
        return names[0] == fusion
    shared = names[0] in fusion_settings.required(fusion) and names[0] not in drawn.fusions.get(fusion, {})
    return section == "train" or names[0] in plan.Sizes.model_fields or shared


if __name__ == "__main__":
    cli.run(main)
