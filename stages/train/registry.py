"""`python -m stages.train.registry`: all fusions, on how many modalities, with how many parameters in this study.

The numbers are of the study's combinations of modalities, at the sizes of its features, which must be there.
"""

import pandas as pd

from stages.common import cli, features, params, tables, variants
from stages.plan.__main__ import make
from stages.train import model, objective, protocol


def main() -> None:
    """Print the registry."""
    cli.ArgumentParser(prog="python -m stages.train.registry", description=__doc__).parse_args()
    config = params.load()
    known = features.read(list(config.modalities))
    shape = protocol.shape(known, objective.of(config.task, known).size)
    combinations = variants.combinations(config.models, config.letters)
    rows = []
    for name, fusion in variants.FUSIONS.items():
        row = {"fusion": name, "system": fusion.label, "modalities": modalities(fusion)}
        for letters in combinations:
            count = parameters(variants.named(name, letters), config, shape)
            row[variants.combination_label(letters)] = None if count is None else f"{count:,}"
        rows.append(row | {"source": fusion.source})
    print(tables.markdown(pd.DataFrame(rows)), end="")


def modalities(fusion: variants.Fusion) -> str:
    """How many a fusion is defined for."""
    if fusion.at_most is None:
        return f"{fusion.at_least} or more"
    return str(fusion.at_least) if fusion.at_most == fusion.at_least else f"{fusion.at_least} to {fusion.at_most}"


def parameters(variant: str, config: params.Params, shape: model.Shape) -> int | None:
    """How many parameters training fits, or has fitted to a reference's parts; None if there is no such variant."""
    try:
        parsed = variants.parse(variant)
    except ValueError:
        return None
    if not parsed.trained:
        return sum(parameters(part, config, shape) for part in parsed.parts)
    return sum(own.numel() for own in model.build(make(variant, config), shape).parameters())


if __name__ == "__main__":
    cli.run(main)
