"""`python -m stages.plan`: check all params and the registry, then write `data/plans/<variant>.json`.

Beside them, in `data/plans/features/<modality>.json`, is what a modality's features depend on but the corpus.

DVC removes a stage's outputs and runs its command with the values of `params.yaml` in both. Nothing of that may happen
before they are checked: so every train stage depends on its plan, and every stage `features` on `CHECKED`.
"""

import json
from pathlib import Path

from stages.common import cli, code, files, params, plan, variants

TRAINING = "stages.train.protocol"
OUTPUTS = "stages.train.outputs"
"""What writes a train stage's outputs: if it alone changes, they are written again from the results in `.work/`."""


FEATURES = "features"
"""Beside the plans, the folder of what each modality's features depend on."""
CHECKED = Path("data/checked.txt")
"""Always the same, so that no stage is stale for it."""


def main() -> None:
    """Write a plan for each variant of the study."""
    config = params.load()
    variants.check()
    with files.replacing(plan.FOLDER) as folder:
        folder.mkdir()
        for variant in config.variants:
            files.write_text(folder / f"{variant}.json", make(variant, config).as_json())
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


if __name__ == "__main__":
    cli.run(main)
