"""`python -m stages.predict --variant NAME --seed N --fold N --wav FILE …`: what trained models say of an utterance.

Features are made with the study's extractors and settings, or read from .npy files. docs/prediction.md.
"""

import sys
from argparse import Namespace
from pathlib import Path

import torch

from stages.common import cli, features, params, task, tuning
from stages.common.errors import UserError
from stages.predict import given, models, shown


def main() -> None:
    """Print the probabilities of the classes, or the values of the dimensions."""
    options = _options()
    config = params.load()
    asked = models.ask(options.variant, options.seed, options.fold, ensemble=options.ensemble, config=config)
    known = features.read(tuning.read(options.variant).names)
    own = given.read(_given(options), config, known)
    torch.set_num_threads(1)  # how many there are can change the last bits
    (outputs,) = models.outputs(asked, known, own)
    found = shown.Found.of(task.of(config.task, known.meta), known.meta, outputs)
    if options.json:
        print(shown.as_json(asked, found, options.missing))
    else:
        print(shown.chart(asked, found, options.missing, sys.stdout.encoding or "ascii"))


def _options() -> Namespace:
    parser = cli.ArgumentParser(prog="python -m stages.predict", description="Say an utterance's class, or its values.")
    parser.add_argument("--variant", required=True, help="one of those that params.yaml names")
    parser.add_argument("--seed", type=int, help="of the run that is asked")
    parser.add_argument("--fold", type=int, help="of the run that is asked")
    parser.add_argument("--ensemble", action="store_true", help="ask all seeds and folds; the mean of what they say")
    parser.add_argument("--wav", metavar="FILE", help="sound: WAV, FLAC, MP3, Ogg")
    parser.add_argument("--video", metavar="FILE", help="MP4, MOV, AVI, Matroska, FLV")
    parser.add_argument("--text", metavar="TEXT", help="what is said")
    parser.add_argument(
        "--features", metavar="NAME=FILE", action="append", default=[], help="a modality's features, an .npy array"
    )
    parser.add_argument("--missing", metavar="NAME", action="append", default=[], help="a modality it does not have")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    return parser.parse_args()


def _given(options: Namespace) -> given.Given:
    """What the options give of an utterance."""
    arrays: dict[str, Path] = {}
    for option in options.features:
        name, is_pair, file = option.partition("=")
        if not (is_pair and name and file):
            raise UserError(f"--features must be NAME=FILE, such as audio=x.npy, but is {option}")
        if name in arrays:
            raise UserError(f"--features must name each modality once, but names {name} twice")
        arrays[name] = Path(file)
    media = {"audio": options.wav, "video": options.video, "text": options.text}
    return given.Given(
        media={medium: content for medium, content in media.items() if content is not None},
        arrays=arrays,
        missing=list(dict.fromkeys(options.missing)),
    )


if __name__ == "__main__":
    cli.run(main)
