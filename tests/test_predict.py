"""Predictions of utterances that are given: those of the corpus are what its runs made of them; and errors."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stages.common import corpus, features, params, plan, predictions, task
from stages.common.errors import UserError
from stages.common.records import RunId
from stages.evaluate import changes
from stages.evaluate.trained import TrainedRun, weights_path
from stages.features import glove
from stages.predict import __main__ as command
from stages.predict import given, models, shown
from stages.predict.given import Given

VARIANT = "cross_tva"
OTHERS = ["--variant", VARIANT, "--seed", "1", "--fold", "2"]


@pytest.fixture
def study(heard, tmp_path, monkeypatch) -> Path:
    """The trained study, which nothing here changes, and a folder for what is given."""
    monkeypatch.chdir(heard)
    return tmp_path


def known() -> features.Features:
    return features.read(["text", "video", "audio"])


def answered(seed: int, fold: int):
    """The test part's predictions of a run, by utterance."""
    own = predictions.read(VARIANT, seed, task.classes(corpus.read_meta().classes))
    return own[own["fold"] == fold].set_index("utterance_id").filter(like="probability_")


def saved(folder: Path, name: str, modalities=("text", "video", "audio")) -> dict[str, Path]:
    """Features of one of the corpus's utterances as files."""
    row = list(known().utterance_id).index(name)
    for modality in modalities:
        np.save(folder / f"{modality}.npy", np.array(known().sequences[modality][row]))
    return {modality: folder / f"{modality}.npy" for modality in modalities}


def own_media(name: str) -> dict[str, str]:
    texts = corpus.read_utterances().set_index("utterance_id")["transcription"]
    return {"audio": f"corpus/{name}.wav", "text": texts[name]}


def asked(monkeypatch, capsys, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["predict", *arguments])
    command.main()
    return capsys.readouterr().out


def test_an_utterance_of_the_corpus_gets_its_runs_own_prediction(study):
    """By each run that tests it; by its features, and by what they were made of; the mean by all runs."""
    config, every = params.load(), []
    for seed in (1, 2):
        for fold in (1, 2):
            expected = answered(seed, fold)
            run = models.ask(VARIANT, seed, fold, ensemble=False, config=config)
            for name in expected.index[:3]:
                arrays = saved(study, name)
                by_arrays = given.read(Given(arrays=arrays), config, known())
                own = models.outputs(run, known(), by_arrays)
                np.testing.assert_allclose(own[0], expected.loc[name], rtol=0, atol=1e-6)
                media = Given(media=own_media(name), arrays={"video": arrays["video"]})
                by_media = given.read(media, config, known())
                np.testing.assert_array_equal(models.outputs(run, known(), by_media), own)
    name = answered(1, 1).index[0]
    one = given.read(Given(arrays=saved(study, name)), config, known())
    for seed in (1, 2):
        for fold in (1, 2):
            run = models.ask(VARIANT, seed, fold, ensemble=False, config=config)
            every.append(models.outputs(run, known(), one)[0])
    together = models.ask(VARIANT, None, None, ensemble=True, config=config)
    np.testing.assert_allclose(models.outputs(together, known(), one)[0], np.mean(every, axis=0), atol=1e-12)


def test_the_command_prints_a_bar_a_class_or_json(study, monkeypatch, capsys):
    name = answered(1, 2).index[0]
    arrays = [f"--features={modality}={path}" for modality, path in saved(study, name).items()]
    printed = asked(monkeypatch, capsys, *OTHERS, *arrays, "--json")
    answer = json.loads(printed)
    assert printed.count("\n") == 1
    assert answer["variant"] == VARIANT
    assert answer["models"] == [{"seed": 1, "fold": 2}]
    assert answer["missing"] == []
    expected = answered(1, 2).loc[name].rename(lambda column: column.removeprefix("probability_"))
    assert answer["probabilities"] == pytest.approx(expected.to_dict(), abs=1e-6)
    assert answer["predicted"] == expected.idxmax()
    header, *bars = asked(monkeypatch, capsys, *OTHERS, *arrays).splitlines()
    assert header == "Cross T+V+A (seed 1, fold 2)"
    assert [bar.split()[0] for bar in bars] == list(expected.sort_values(ascending=False).index)
    answer = json.loads(asked(monkeypatch, capsys, "--variant", VARIANT, "--ensemble", *arrays, "--json"))
    assert answer["models"] == [{"seed": seed, "fold": fold} for fold in (1, 2) for seed in (1, 2)]


def test_a_chart_worked_by_hand():
    run = models.Asked(variant="self_ta", runs=[RunId(3, 4)])
    found = shown.Found(kind="probabilities", numbers={"a": 0.25, "calm": 0.75}, bars=[0.25, 0.75])
    lines = shown.chart(run, found, ["audio"], "utf-8").splitlines()
    assert lines == [
        "Self T+A (seed 3, fold 4, without audio)",
        "calm  " + "█" * 30 + " " * 10 + "  .750",
        "a     " + "█" * 10 + " " * 30 + "  .250",
    ]
    plain = shown.chart(run, found, [], "ascii")
    assert plain.splitlines()[1] == "calm  " + "#" * 30 + " " * 10 + "  .750"
    assert shown._bar(1 / 320, "utf-8") == "▏"
    assert shown._bar(1.0, "utf-8") == "█" * 40
    both = models.Asked(variant="self_ta", runs=[RunId(3, 4), RunId(3, 5)])
    assert "(mean of 2 models, all seeds and folds)" in shown.chart(both, found, [], "utf-8")


@pytest.mark.parametrize("modality", ["text", "video", "audio"])
def test_a_missing_modality_is_one_that_the_utterance_has_not(study, modality):
    """As `evaluate` leaves it out."""
    config, folds = params.load(), corpus.read_folds()
    rows = features.fold_rows(known(), folds, 1)
    run = TrainedRun(plan.read(VARIANT), known(), rows, weights_path(VARIANT, RunId(1, 1)))
    expected = run.logits(changes.left_out(run, modality))[0]
    arrays = saved(study, known().utterance_id[rows["test"][0]], {"text", "video", "audio"} - {modality})
    one = given.read(Given(arrays=arrays, missing=[modality]), config, known())
    np.testing.assert_allclose(run.logits_of(one)[0], expected, rtol=0, atol=1e-6)


def test_a_word_that_the_corpus_has_not_gets_the_vector_that_features_would_give(study):
    own = known().sequences["text"]
    one = given.read(
        Given(media={"text": "You unheard go, unheard"}, missing=["video", "audio"]), params.load(), known()
    )
    text = one.sequences["text"]
    ids = glove.vocabulary(corpus.read_utterances()["transcription"])
    new = len(own.embedding)
    assert text[0].tolist() == [ids["you"], new, ids["go"], new + 1, new]
    np.testing.assert_array_equal(text.embedding[:new], own.embedding)
    for number, word in enumerate(("unheard", ",")):
        np.testing.assert_array_equal(text.embedding[new + number], glove.draw(word, seed=1, dimensions=300))


def test_what_is_longer_than_the_corpus_is_cut(study, capsys):
    own, config = known().sequences["audio"], params.load()
    rng = np.random.default_rng(0)
    long = rng.standard_normal((own.longest + 7, own.dimensions)).astype("f4")
    found = []
    for name, values in {"long": long, "cut": long[: own.longest]}.items():
        np.save(study / f"{name}.npy", values)
        one = given.read(Given(arrays={"audio": study / f"{name}.npy"}, missing=["text", "video"]), config, known())
        found.append(one.sequences["audio"][0])
    np.testing.assert_array_equal(*found)
    assert capsys.readouterr().err == (
        f"warning: {study / 'long.npy'}: only the first {own.longest} of {own.longest + 7} positions are read\n"
    )


ALL = ["--features", "text={0}/text.npy", "--features", "video={0}/video.npy", "--features", "audio={0}/audio.npy"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--variant", "self_x", "--ensemble"],
            "--variant must be one of self_tva, cross_tva, concat_ta, but is self_x",
        ),
        (["--variant", VARIANT, *ALL], "--seed must be one of 1, 2, or --ensemble given, but neither is"),
        (
            ["--variant", VARIANT, "--seed", "1", *ALL],
            "--fold must be one of 1, 2, or --ensemble given, but neither is",
        ),
        (["--variant", VARIANT, "--seed", "3", "--fold", "1"], "--seed must be one of 1, 2, but is 3"),
        (["--variant", VARIANT, "--seed", "1", "--fold", "3"], "--fold must be one of 1, 2, but is 3"),
        (["--variant", VARIANT, "--seed", "one", "--fold", "3"], "argument --seed: invalid int value: 'one'"),
        ([*OTHERS, "--ensemble"], "--seed and --fold must not be given with it"),
        (
            [*OTHERS, *ALL[:4]],
            r"audio must be given, but is not: --wav …, --features audio=FILE.npy, or --missing audio",
        ),
        ([*OTHERS, *ALL[2:]], "text must be given, but is not: --text …, --features text=FILE.npy, or --missing text"),
        ([*OTHERS, *ALL[:2]], "video must be given, but is not: --features video=FILE.npy, or --missing video"),
        ([*OTHERS, *ALL, "--missing", "audio"], "audio must be given once, but is by --missing and --features"),
        ([*OTHERS, *ALL, "--text", "go"], "text must be given once, but is by --features and --text"),
        (
            [*OTHERS, *ALL, "--video", "x.avi"],
            "--video must be what a modality is made of, but this study makes text of",
        ),
        (
            [*OTHERS, *ALL, "--features", "face=x.npy"],
            "--features must name modalities of the variant, text, video, audio",
        ),
        (
            [*OTHERS, *ALL, "--features", "audio=x.npy"],
            "--features must name each modality once, but names audio twice",
        ),
        ([*OTHERS, "--features", "audio"], "--features must be NAME=FILE, such as audio=x.npy, but is audio"),
        (
            [*OTHERS, "--missing", "face"],
            "--missing must name modalities of the variant, text, video, audio, but one is",
        ),
        (
            [*OTHERS, "--missing", "text", "--missing", "video", "--missing", "audio"],
            "--missing must leave a modality of text, video, audio, but leaves none",
        ),
        ([*OTHERS, *ALL[2:], "--text", " "], "--text: must have at least one position of text, but has none"),
        ([*OTHERS, *ALL[:4], "--wav", "{0}/none.wav"], "none.wav: .*"),
        ([*OTHERS, *ALL[:4], "--wav", "{0}/text.npy"], "text.npy: must be sound, but cannot be read"),
        (
            [*OTHERS, *ALL[:4], "--wav", "{0}/click.wav"],
            "--wav: must have at least one position of audio, but has none",
        ),
        ([*OTHERS, *ALL[:4], "--features", "audio={0}/none.npy"], "none.npy: this array is missing"),
        (
            [*OTHERS, *ALL[:4], "--features", "audio={0}/video.npy"],
            r"video.npy: must have the shape \[frames, 9\], but",
        ),
        ([*OTHERS, *ALL[:4], "--features", "audio={0}/nan.npy"], "nan.npy: values must be finite, but frame 2 has nan"),
        ([*OTHERS, *ALL[2:], "--features", "text={0}/ids.npy"], "ids.npy: token ids must be whole numbers in 0 … 6"),
    ],
)
def test_what_cannot_be_meant(study, monkeypatch, capsys, arguments, message):
    saved(study, "u1")
    soundfile.write(study / "click.wav", np.zeros(20), 16000)
    broken = np.zeros((4, 9), "f4")
    broken[2, 5] = np.nan
    np.save(study / "nan.npy", broken)
    np.save(study / "ids.npy", np.array([1, 7]))
    with pytest.raises(UserError, match=message) as error:
        asked(monkeypatch, capsys, *(argument.format(study) for argument in arguments))
    assert "\n" not in str(error.value)


def test_without_weights_the_error_says_how_to_keep_them(study, monkeypatch, capsys):
    monkeypatch.setattr(models, "weights_path", lambda variant, run: study / f"fold{run.fold}.safetensors")
    saved(study, "u1")
    with pytest.raises(
        UserError, match=r"fold2\.safetensors is missing: set train\.save_weights: true in params\.yaml, then"
    ):
        asked(monkeypatch, capsys, *OTHERS, *(argument.format(study) for argument in ALL))


def test_features_that_were_made_otherwise_than_params_say(study):
    config = params.load()
    modality = config.modalities["audio"]
    other = modality.model_copy(update={"features": modality.features.model_copy(update={"rate": 8000})})
    changed = config.model_copy(update={"modalities": config.modalities | {"audio": other}})
    with pytest.raises(
        UserError, match=r"data/features/audio must be made as params\.yaml says now, but is not: run dvc"
    ):
        given.read(Given(media={"audio": "corpus/u1.wav"}, missing=["text", "video"]), changed, known())
