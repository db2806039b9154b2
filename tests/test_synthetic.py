"""The embedded corpus has the shape that it promises, and its knobs do what they say."""

from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import NearestCentroid

from stages.common import corpus as corpora
from stages.common import features, params, predictions, scores, task
from stages.common.records import RunId
from stages.corpus import synthetic
from stages.corpus.iemocap import CLASS_COUNTS
from stages.features import synthetic as synthetic_features
from stages.plan.__main__ import make
from stages.split import schemes
from stages.train import protocol

CONFIG = params.load()


def generated(folder, modalities=synthetic.MODALITIES, **changes) -> features.Features:
    """A corpus and its features in `folder`, each modality for itself and as hard as IEMOCAP unless changed."""
    own = {"signal": 1.0, "interaction": 0.0} | changes
    corpus = CONFIG.corpus.model_copy(update={"synthetic": CONFIG.corpus.synthetic.model_copy(update=own)})
    synthetic.read(corpus).write(folder / "corpus")
    utterances = corpora.read_utterances(folder / "corpus")
    for modality in modalities:
        synthetic_features.write(corpus, modality, utterances, folder / "features" / modality)
    return features.read(modalities, folder / "features", folder / "corpus")


def test_classes_speakers_and_lengths(tmp_path):
    corpus = generated(tmp_path / "c", utterances=840)
    counts = Counter(np.array(corpus.meta.classes)[corpus.label])
    assert counts == {name: round(840 * count / 7487) for name, count in CLASS_COUNTS.items()}
    assert min(counts.values()) == 12
    table = corpora.read_utterances(tmp_path / "c/corpus")
    assert table["session"].nunique() == 5
    assert table["speaker"].nunique() == 10
    assert (table.groupby("speaker")["session"].nunique() == 1).all()
    assert (table.groupby("dialogue")["session"].nunique() == 1).all()
    assert table["utterance_id"].is_unique
    for ragged in corpus.sequences.values():
        assert np.median(ragged.lengths) <= ragged.longest / 2
        assert 0 < (ragged.lengths == ragged.longest).mean() < 0.1
        assert ragged.lengths.min() >= 1


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generated(tmp_path / name, seed=seed, utterances=150)
    files = {
        name: {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in "abc"
    }
    assert files["a"] == files["b"]
    names = ("features/audio/frames.npy", "features/text/tokens.npy", "corpus/utterances.csv")
    assert all(files["a"][name] != files["c"][name] for name in names)


def test_modalities_that_are_written_one_by_one_belong_together(tmp_path):
    corpus = generated(tmp_path / "c", utterances=150)
    own = {"utterances": 150, "signal": 1.0, "interaction": 0.0}
    speech = synthetic.Speech(CONFIG.corpus.synthetic.model_copy(update=own))
    drawn = list(speech.utterances())
    assert [utterance["utterance_id"] for utterance, _ in drawn] == list(corpus.utterance_id)
    for row, (utterance, sequences) in enumerate(drawn):
        assert corpus.meta.classes[corpus.label[row]] == utterance["label"]
        for modality, ragged in corpus.sequences.items():
            np.testing.assert_array_equal(ragged[row], sequences[modality].astype(ragged.values.dtype))


def test_the_default_corpus_keeps_twelve_of_the_rarest():
    assert min(synthetic.class_counts(CONFIG.corpus.synthetic.utterances).values()) >= 12


def balanced_accuracies(folder, variant, **changes) -> np.ndarray:
    """One value a fold, trained on a corpus of its own; every development part holds the rarest class."""
    plan = make(variant, CONFIG)
    corpus = generated(folder, plan.names, **changes)
    utterances = corpora.read_utterances(folder / "corpus")
    folds = schemes.random(utterances, CONFIG.split.model_copy(update={"dev_share": 0.5}))
    rows = {fold: features.fold_rows(corpus, folds, fold) for fold in range(1, 6)}
    values = []
    for run_id, run in protocol.train(plan, [RunId(1, fold) for fold in rows], rows, corpus, at_once=5):
        table = predictions.table(corpus, run_id.fold, rows[run_id.fold]["test"], run.outputs)
        values.append(scores.scores(table, task.classes(corpus.meta.classes))["balanced_accuracy"])
    return np.array(values)


@pytest.mark.parametrize("variant", ["self_tv", "cross_tv"])
def test_without_signal_nothing_beats_chance(variant, tmp_path):
    values = balanced_accuracies(tmp_path / "c", variant, signal=0.0)
    assert abs(values.mean() - 1 / 7) < 3 * max(values.std(ddof=1), 0.02) / 5**0.5


def test_with_strong_signal_nearly_all_is_right(tmp_path):
    assert balanced_accuracies(tmp_path / "c", "self_tva", signal=8.0, interaction=0.0).mean() > 0.95


@pytest.mark.parametrize(("interaction", "lowest", "highest"), [(0.0, 0.35, 1.0), (1.0, 0.0, 0.25)])
def test_interaction_takes_the_class_out_of_the_video(interaction, lowest, highest, tmp_path):
    corpus = generated(tmp_path / "c", ["video"], utterances=2000, interaction=interaction)
    video = corpus.sequences["video"]
    means = np.array([video[row].mean(axis=0) for row in range(len(corpus.label))])
    train, test = np.arange(len(means)) % 2 == 0, np.arange(len(means)) % 2 == 1
    predicted = NearestCentroid().fit(means[train], corpus.label[train]).predict(means[test])
    assert lowest < balanced_accuracy_score(corpus.label[test], predicted) < highest
