"""Evaluations: EMAP against its definition, modalities left out and noise against small models that are known."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

from benchmarks.synthetic_corpora import write
from stages.common import corpus, features, files, params, plan, predictions, scores, task, tuning
from stages.common.errors import UserError
from stages.common.features import Features, Ragged
from stages.common.records import RunId
from stages.evaluate import __main__ as stage
from stages.evaluate import additive, changes
from stages.evaluate.changes import Condition
from stages.evaluate.found import LEFT_OUT, NOISE, WHOLE
from stages.evaluate.trained import TrainedRun
from stages.plan import __main__ as plan_stage
from stages.plan.__main__ import make
from stages.split.__main__ import divide
from stages.train import data, outputs, protocol
from tests.conftest import ROOT, changed

CLASSES = 3
RUN = RunId(3, 1)


def table_model(utterances: int, modalities: int, seed: int) -> np.ndarray:
    """The logits of a model without any structure, for each combination of parts: [N, …, N, C]."""
    return np.random.default_rng(seed).standard_normal((utterances,) * modalities + (CLASSES,))


def emap(model: np.ndarray, partners: int, seed: int = 0) -> np.ndarray:
    """EMAP of a model [N, …, N, C]: [N, C]."""
    count, modalities = len(model), model.ndim - 1
    chosen = additive.choose(count, modalities, partners, np.random.default_rng(seed))
    return additive.project(additive.crossed(lambda rows: model[tuple(rows.T)], count, chosen), chosen)


def sum_model(utterances: int, modalities: int) -> tuple[np.ndarray, np.ndarray]:
    """A model [N, …, N, C] that is a sum over modalities, and its logits of the utterances themselves [N, C]."""
    rng = np.random.default_rng(1)
    parts = [rng.standard_normal((utterances, CLASSES)) for _ in range(modalities)]
    total = np.zeros((utterances,) * modalities + (CLASSES,))
    for m, part in enumerate(parts):
        total += part.reshape([utterances if axis == m else 1 for axis in range(modalities)] + [CLASSES])
    return total, sum(parts)


def test_of_two_modalities_it_is_the_definition():
    model = table_model(7, 2, seed=2)
    expected = np.zeros((7, CLASSES))
    for i in range(7):
        for j in range(7):
            expected[i] += model[i, j] / 7 + model[j, i] / 7
            for k in range(7):
                expected[i] -= model[j, k] / 49
    np.testing.assert_allclose(emap(model, 7), expected, rtol=0, atol=1e-10)


def test_of_three_modalities_it_is_the_definition():
    model = table_model(5, 3, seed=3)
    expected = np.zeros((5, CLASSES))
    for i, j, k in product(range(5), repeat=3):
        expected[i] += (model[i, j, k] + model[j, i, k] + model[j, k, i]) / 25
        expected -= 2 * model[i, j, k] / 125
    np.testing.assert_allclose(emap(model, 25), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("modalities", [2, 3])
def test_it_is_the_nearest_sum(modalities):
    """By least squares over all combinations, with an indicator for each part of each modality."""
    count = 5
    model, columns = table_model(count, modalities, seed=4), []
    places = np.indices((count,) * modalities).reshape(modalities, -1)
    for place, row in product(places, range(count)):
        columns.append((place == row).astype(float))
    design = np.stack(columns, axis=1)
    fitted = design @ np.linalg.lstsq(design, model.reshape(-1, CLASSES), rcond=None)[0]
    own = fitted.reshape(model.shape)[(np.arange(count),) * modalities]
    np.testing.assert_allclose(emap(model, count**modalities), own, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("utterances", "modalities"), [(31, 2), (11, 3), (5, 4)])
@pytest.mark.parametrize("partners", [2, 3, 13, 200])
def test_a_sum_is_its_own_emap_however_few_partners_are_taken(utterances, modalities, partners):
    model, own = sum_model(utterances, modalities)
    np.testing.assert_allclose(emap(model, partners), own, rtol=0, atol=1e-10)


def test_of_xor_nothing_is_left():
    """The class is the XOR of two bits, one a modality: alone neither says anything."""
    bits = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 3)
    right = bits[:, :1] ^ bits[:, 1]  # of the text of one and the video of another
    model = np.stack([1.0 - right, right], axis=2)
    own = model[np.arange(12), np.arange(12)]
    assert (own.argmax(axis=1) == bits[:, 0] ^ bits[:, 1]).all()
    np.testing.assert_allclose(emap(model, 12), np.full((12, 2), 0.5), rtol=0, atol=1e-12)


def test_what_is_left_of_a_sample_falls_with_its_size_and_has_no_direction():
    model, whole = table_model(17, 3, seed=5), 17**2
    exact = emap(model, whole)
    errors = {}
    for partners in (8, 32, 128):
        drawn = np.stack([emap(model, partners, seed) - exact for seed in range(200)])
        errors[partners] = np.sqrt((drawn**2).mean())
        assert np.abs(drawn.mean(axis=0)).max() < 4.5 * drawn.std() / np.sqrt(200)
    assert errors[32] == pytest.approx(errors[8] / 2, rel=0.1)
    assert errors[128] == pytest.approx(errors[32] / 2 * np.sqrt(161 / 257), rel=0.25)


@pytest.mark.parametrize(("utterances", "modalities", "partners"), [(40, 2, 30), (17, 3, 34)])
def test_the_sampling_error_is_that_of_other_samples(utterances, modalities, partners):
    model, estimates, own = table_model(utterances, modalities, seed=6), [], []
    for seed in range(200):
        chosen = additive.choose(utterances, modalities, partners, np.random.default_rng(seed))
        logits = additive.crossed(lambda rows: model[tuple(rows.T)], utterances, chosen)
        estimates.append(additive.project(logits, chosen))
        one, other = (additive.project(logits[:, :, half::2], chosen[:, half::2]) for half in (0, 1))
        own.append(additive.share_left(utterances, chosen) * ((one - other) / 2) ** 2)
    assert np.mean(own) == pytest.approx(np.var(estimates, axis=0).mean(), rel=0.1)


def test_partners_are_taken_about_as_often():
    chosen = additive.choose(7, 3, 17, np.random.default_rng(0))
    assert chosen.shape == (3, 17, 2)
    for column in chosen.transpose(0, 2, 1).reshape(-1, 17):
        assert set(np.bincount(column, minlength=7)) <= {2, 3}
    every = additive.choose(7, 3, 49, np.random.default_rng(0))
    assert [len(set(map(tuple, own))) for own in every] == [49] * 3
    assert additive.share_left(7, every) == 0


# Small models that are trained here


def simple_corpus(words: bool = False) -> Features:
    """An utterance's text says its class, its audio nothing; frames, or of text also word ids."""
    rng, count = np.random.default_rng(0), 180
    label = np.arange(count) % CLASSES
    sequences = {}
    for name, size, longest in (("text", 5, 3), ("audio", 7, 5)):
        lengths = rng.integers(1, longest + 1, count)
        offsets = np.cumsum(lengths) - lengths
        values = rng.standard_normal((lengths.sum(), size)).astype(np.float32)
        embedding = None
        if name == "audio":
            values *= 3
        if name == "text":
            told = label.repeat(lengths)
            values[np.arange(len(told)), told] += 6
            if words:
                embedding = np.vstack([np.full(CLASSES, 0.5), np.eye(CLASSES)]).astype(np.float32)
                values = (told + 1).astype(np.int32)
        sequences[name] = Ragged(values=values, offsets=offsets, lengths=lengths, longest=longest, embedding=embedding)
    meta = corpus.Meta(corpus="simple", classes=["a", "b", "c"], modalities=["text", "audio"])
    return Features(meta=meta, utterance_id=np.arange(count).astype(str), label=label, sequences=sequences)


ROWS = {"train": np.arange(90), "dev": np.arange(90, 120), "test": np.arange(120, 180)}


def simple_plan(variant: str = "concat_ta", **changes) -> plan.Plan:
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["modalities"] = {
        "text": {"letter": "t"},
        "audio": {"letter": "a", "standardise": True},
    }
    own = {
        "variants": list({"self_ta": 0, variant: 0}),
        "headline__modalities": "ta",
        "model__hidden": 3,
        "model__heads": 2,
    }
    own |= {"train__protocol__max_epochs": 12, "train__protocol__learning_rate": 0.02, "train__precision": "float64"}
    return make(variant, params.Params.model_validate(changed(document, own | changes)))


def trained_run(own: plan.Plan, known: Features, folder: Path) -> tuple[TrainedRun, np.ndarray]:
    """A run that is trained and read from its weights, and the probabilities that it left."""
    ((_, run),) = protocol.train(own, [RUN], {1: ROWS}, known)
    save_file(run.weights, folder / "fold1.safetensors")
    return TrainedRun(own, known, ROWS, folder / "fold1.safetensors"), run.outputs


def accuracy(run: TrainedRun, condition: Condition) -> float:
    logits = run.logits(changes.change(run, RUN, condition))
    return (logits.argmax(axis=1) == run.features.label[ROWS["test"]]).mean()


@pytest.fixture(scope="module")
def simple(tmp_path_factory) -> tuple[TrainedRun, np.ndarray]:
    return trained_run(simple_plan(), simple_corpus(), tmp_path_factory.mktemp("simple"))


@pytest.mark.parametrize("variant", ["concat_ta", "self_ta", "cross_ta"])
@pytest.mark.parametrize("padding", ["attend", "mask"])
def test_the_weights_give_the_runs_own_predictions(variant, padding, tmp_path):
    own = simple_plan(variant, model__padding=padding, train__protocol__max_epochs=2)
    run, probabilities = trained_run(own, simple_corpus(), tmp_path)
    np.testing.assert_array_equal(torch.tensor(run.logits()).softmax(1).numpy(), probabilities)
    combined = run.combined()
    same = np.arange(60)[:, None].repeat(2, axis=1)
    np.testing.assert_allclose(combined(same), run.logits(), rtol=0, atol=1e-12)


def test_parts_of_different_utterances_are_combined(simple):
    """The text of one and the audio of another are those of an utterance that has both."""
    run, _ = simple
    known = run.features
    rows = np.array([[5, 17], [17, 5], [3, 44]])
    text, audio = (ROWS["test"][rows[:, m]] for m in (0, 1))
    moved = {
        name: Ragged(values=own.values, offsets=own.offsets[which], lengths=own.lengths[which], longest=own.longest)
        for (name, own), which in zip(known.sequences.items(), (text, audio), strict=True)
    }
    batches = data.Batches(
        Features(meta=known.meta, utterance_id=known.utterance_id[:3], label=known.label[:3], sequences=moved),
        ["text", "audio"],
        known.label,
        size=3,
        padding_is_data=True,
        dtype=torch.float64,
        device=torch.device("cpu"),
    )
    with torch.inference_mode():
        expected = run.network(batches([np.arange(3)], [run.scalers]).sequences)[0, :3]
    np.testing.assert_allclose(run.combined()(rows), expected.numpy(), rtol=0, atol=1e-12)


def test_a_model_without_interactions_is_its_own_emap(simple):
    """Concatenation before a classifier without activation is a sum over modalities; cross-attention is none."""
    run, _ = simple
    chosen = additive.choose(60, 2, 7, np.random.default_rng(0))
    found = additive.project(additive.crossed(run.combined(), 60, chosen), chosen)
    np.testing.assert_allclose(found, run.logits(), rtol=0, atol=1e-10)


def test_attention_across_modalities_is_not_its_own_emap(tmp_path):
    run, _ = trained_run(simple_plan("cross_ta"), simple_corpus(), tmp_path)
    chosen = additive.choose(60, 2, 60, np.random.default_rng(0))
    found = additive.project(additive.crossed(run.combined(), 60, chosen), chosen)
    assert np.abs(found - run.logits()).max() > 1e-3


def test_what_carries_everything_and_what_carries_nothing(simple):
    run, _ = simple
    assert accuracy(run, Condition()) > 0.95
    assert accuracy(run, Condition(modality="text", change=LEFT_OUT)) == pytest.approx(1 / 3, abs=0.15)
    assert accuracy(run, Condition(modality="audio", change=LEFT_OUT)) > 0.95
    by_noise = [accuracy(run, Condition(modality="text", change=NOISE, size=size)) for size in (0.01, 1, 100)]
    assert by_noise[0] > 0.95 > by_noise[1] > by_noise[2]
    assert by_noise[2] == pytest.approx(1 / 3, abs=0.2)
    assert accuracy(run, Condition(modality="audio", change=NOISE, size=1)) > 0.95


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("padding", ["attend", "mask"])
@pytest.mark.parametrize("modality", ["text", "audio"])
def test_a_modality_left_out_is_as_one_that_the_corpus_has_not(modality, padding, words, tmp_path):
    known = simple_corpus(words)
    own = simple_plan(model__padding=padding, train__protocol__max_epochs=1)
    run, _ = trained_run(own, known, tmp_path)
    full = known.sequences[modality]
    none = replace(full, lengths=np.where(np.isin(np.arange(180), ROWS["test"]), 0, full.lengths))
    lacking = replace(known, sequences=known.sequences | {modality: none})
    expected = TrainedRun(own, lacking, ROWS, tmp_path / "fold1.safetensors").logits()
    np.testing.assert_array_equal(run.logits(changes.left_out(run, modality)), expected)


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("modality", ["text", "audio"])
def test_noise_has_the_size_that_is_asked_for(modality, words, tmp_path):
    run, _ = trained_run(simple_plan(train__protocol__max_epochs=1), simple_corpus(words), tmp_path)
    own, rows = run.features.sequences[modality], ROWS["test"][:32]
    train = np.concatenate([own[row] for row in ROWS["train"]])
    deviation = (train if own.embedding is None else own.embedding[train]).std(axis=0, dtype=np.float64)
    if modality == "audio":  # which is standardised
        deviation = np.ones(7)
    batch = run.batches([rows], [run.scalers])
    noisy = {size: changes.noise(run, RUN, modality, size)(batch, rows) for size in (1, 2)}
    added = {size: (some.sequences[modality][0] - batch.sequences[modality][0])[0] for size, some in noisy.items()}
    torch.testing.assert_close(2 * added[1], added[2])
    there = torch.arange(own.longest)[:, None] < torch.tensor(own.lengths[rows])  # (T, B)
    assert not added[1][~there].any()
    drawn = added[1][there].numpy() / deviation
    assert drawn.std() == pytest.approx(1, abs=4 / np.sqrt(2 * drawn.size))
    assert drawn.mean() == pytest.approx(0, abs=4 / np.sqrt(drawn.size))
    assert (np.diff(np.sort(drawn.ravel())) > 0).all()
    for other_run in (RunId(3, 2), RunId(4, 1)):
        again = changes.noise(run, other_run, modality, 1)(batch, rows).sequences[modality][0]
        assert not torch.equal(again, noisy[1].sequences[modality][0])
    other = ({"text", "audio"} - {modality}).pop()
    assert noisy[1].sequences[other] is batch.sequences[other]


# Training for it


def test_modality_dropout_leaves_out_what_it_says():
    """Of M modalities each with probability p - p^M / M, and never all."""
    own, known = simple_plan(model__modality_dropout=0.6), simple_corpus()
    runs = protocol.Runs(own, {1: ROWS}, known, torch.device("cpu"), protocol.Stopwatch(), None)
    runs.start([RunId(1, 1), RunId(2, 1)])
    drawn = torch.cat([runs._left_out(runs.running) for _ in range(200)], dim=2)
    assert drawn.shape == (2, 2, 200 * 32)
    assert not drawn.all(dim=1).any()
    share = drawn.double().mean(dim=2)
    assert share.numpy() == pytest.approx(np.full((2, 2), 0.6 - 0.6**2 / 2), abs=4 * 0.5 / 80)
    assert not torch.equal(drawn[0], drawn[1])


def test_with_modality_dropout_a_run_is_the_same_whatever_is_beside_it():
    own, known = simple_plan(model__modality_dropout=0.3, train__protocol__max_epochs=3), simple_corpus()
    ids = [RunId(1, 1), RunId(2, 1), RunId(5, 1)]
    alone, beside = (dict(protocol.train(own, ids, {1: ROWS}, known, at_once=n)) for n in (1, 3))
    without = simple_plan(train__protocol__max_epochs=3)
    plain = dict(protocol.train(without, ids, {1: ROWS}, known))
    for run_id in ids:
        for name, weight in alone[run_id].weights.items():
            assert torch.equal(weight, beside[run_id].weights[name]), name
        assert not np.array_equal(alone[run_id].outputs, plain[run_id].outputs)


def test_modality_dropout_trains_for_a_missing_modality(tmp_path):
    """Audio says the class too, less clearly; a model that met it alone in training does better without text."""
    known, found = simple_corpus(), {}
    audio = known.sequences["audio"]
    told, values = known.label.repeat(audio.lengths), audio.values.copy()
    values[np.arange(len(told)), told] += 7.5
    both = replace(known, sequences=known.sequences | {"audio": replace(audio, values=values)})
    for rate in (0.0, 0.5):
        own = simple_plan("cross_ta", model__modality_dropout=rate, train__protocol__select="loss")
        scored = []
        for _, run in protocol.train(own, [RunId(seed, 1) for seed in (1, 2, 3)], {1: ROWS}, both, at_once=3):
            save_file(run.weights, tmp_path / "fold1.safetensors")
            trained = TrainedRun(own, both, ROWS, tmp_path / "fold1.safetensors")
            scored.append(accuracy(trained, Condition(modality="text", change=LEFT_OUT)))
        found[rate] = np.mean(scored)
    assert found[0.5] > found[0.0] + 0.15


# Through the stage

VARIANTS, SEEDS = ["self_t", "cross_tv", "self_tv_nosp"], [1, 2]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A study of a small synthetic corpus, trained, weights kept."""
    folder = tmp_path_factory.mktemp("study")
    changes = {"variants": VARIANTS, "seeds": SEEDS, "headline__modalities": "tv_nosp", "split__folds": 2}
    changes |= {"corpus__synthetic__utterances": 150, "model__hidden": 3, "train__protocol__max_epochs": 2}
    changes |= {"train__save_weights": True, "evaluate__emap": True, "evaluate__missing": True}
    changes |= {"evaluate__partners": 11, "evaluate__noise": [0.5, 3.0]}
    document = changed(yaml.safe_load((ROOT / "params.yaml").read_text()), changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        config = params.load()
        utterances = write(config.corpus, config.modalities, Path("data"))
        divide(utterances, config.split).to_csv("data/folds.csv", index=False)
        plan_stage.main()
        folds = corpus.read_folds()
        for variant in VARIANTS:
            own = plan.read(variant)
            known = features.read(own.names)
            rows = {fold: features.fold_rows(known, folds, fold) for fold in (1, 2)}
            ids = [RunId(seed, fold) for seed in SEEDS for fold in rows]
            runs = dict(protocol.train(own, ids, rows, known, at_once=4))
            for seed in SEEDS:
                records = {fold: runs[seed, fold].record(weights=True) for fold in rows}
                with files.replacing(predictions.folder(variant, seed)) as run_folder:
                    outputs.write(run_folder, known, folds, records, own.task)
        stage.main()
    return folder


@pytest.fixture
def study(made, enter_copy) -> Path:
    return enter_copy(made)


def change_params(**changes) -> None:
    document = changed(yaml.safe_load(Path("params.yaml").read_text()), changes)
    Path("params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def written() -> dict[str, str]:
    """Path → hash of all that the stage writes."""
    roots = (stage.TABLES, stage.FOLDER, stage.PLOTS)
    paths = sorted(path for root in roots for path in root.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_all_is_written_and_again_the_same_bytes(study):
    before = written()
    assert set(before) == {
        "metrics/emap.csv",
        "metrics/emap.md",
        "metrics/missing.csv",
        "metrics/missing.md",
        "evaluations/README.md",
        *(f"evaluations/emap/{name}/seed{seed}/predictions.parquet" for name, seed in product(VARIANTS[1:], SEEDS)),
        "plots/evaluate/README.md",
        "plots/evaluate/emap.png",
        "plots/evaluate/missing.png",
    }
    change_params(train__workers=1)
    stage.main()
    assert written() == before


def begun(study: Path) -> subprocess.Popen:
    """The stage, started in a process group of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("DVC_STAGE", None)
    return subprocess.Popen(
        [sys.executable, "-m", "stages.evaluate"],
        cwd=study,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def send(process: subprocess.Popen, moment: float, number: signal.Signals, *, after_output: bool) -> None:
    """Signal the stage and its workers, as a terminal does, `moment` seconds from now or from its first output."""
    while after_output and process.poll() is None and not (stage.TABLES / "emap.csv").exists():
        time.sleep(0.005)
    with suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@pytest.mark.long
def test_a_kill_at_any_moment_changes_nothing(study):
    before, rng, stopped = written(), random.Random(3), 0
    started = time.monotonic()
    assert begun(study).wait() == 0
    length = time.monotonic() - started
    signals = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
    for number, after_output in product(signals, [False, True]):
        for root in (stage.FOLDER, stage.PLOTS, *stage.TABLES.glob("*")):
            shutil.rmtree(root) if root.is_dir() else root.unlink()
        process = begun(study)
        send(process, rng.uniform(0, 0.5 if after_output else length), number, after_output=after_output)
        said = process.communicate()[1]
        stopped += process.returncode != 0
        assert process.returncode in (0, -number, 130), said
        left = {path: own for path, own in written().items() if ".partial" not in path}
        assert left.items() <= before.items(), f"half-written after {number.name}"
        again = begun(study)
        assert again.wait() == 0, again.stderr.read()
        assert written() == before, f"another after {number.name}"
    assert stopped > 2


def test_a_tuned_run_is_evaluated_by_the_draw_that_its_fold_chose(study):
    before = written()
    for variant in VARIANTS:
        own = plan.read(variant)
        right = {name: getattr(own, name) for name in tuning.Draw.model_fields if name != "settings"}
        wrong = right | {"model": own.model.model_copy(update={"hidden": 5})}
        drawn = [tuning.Draw(settings={"model.hidden": hidden}, **each) for hidden, each in ((5, wrong), (3, right))]
        tuned = tuning.Tuned(**own.model_dump(), draws=drawn)
        plan.path(variant).write_text(tuned.as_json())
        for seed in SEEDS:
            rows = [(fold, draw, 10, 2, 0.5, draw == 2) for fold in (1, 2) for draw in (1, 2)]
            table = pd.DataFrame(rows, columns=[*tuning.BEFORE, *tuning.AFTER])
            table.to_csv(predictions.folder(variant, seed) / tuning.FILE, index=False)
    stage.main()
    assert written() == before


def test_emaps_table(study):
    table = pd.read_csv("metrics/emap.csv")
    assert table[["a", "b", "score"]].values.tolist() == [
        [name, f"{name} EMAP", metric] for name in VARIANTS[1:] for metric in ("balanced_accuracy", "accuracy")
    ]
    aim = task.classes(corpus.read_meta().classes)
    for row in table.itertuples():
        own = predictions.read_study([row.a], SEEDS, aim)
        assert row.mean_a == pytest.approx(scores.run_scores(own, aim)[row.score].mean())
        emap = [predictions.read_table(stage.FOLDER / f"emap/{row.a}/seed{seed}/predictions.parquet") for seed in SEEDS]
        emap = pd.concat([one.assign(variant="", seed=seed) for one, seed in zip(emap, SEEDS, strict=True)])
        assert row.mean_b == pytest.approx(scores.run_scores(emap, aim)[row.score].mean())
        assert (emap["utterance_id"].to_numpy() == own["utterance_id"].to_numpy()).all()
    assert set(table["test"]) == {"components"}
    sums = table[table["a"] == "self_tv_nosp"]  # attention of each modality to itself, joined
    assert (sums["sampling_error"] == 0).all()
    assert (sums["difference"] == 0).all()
    assert (table["folds"] == 2).all()


def test_the_tables_sampling_error_is_from_the_halves_of_the_partners(study):
    """Half the difference of two halves' scores, less for partners taken once; over four independent runs."""
    own, errors = plan.read("cross_tv"), []
    known, folds = features.read(own.names), corpus.read_folds()
    for run_id in map(RunId, *zip(*product(SEEDS, (1, 2)), strict=True)):
        rows = features.fold_rows(known, folds, run_id.fold)
        actual, count = known.label[rows["test"]], len(rows["test"])
        run = TrainedRun(
            own, known, rows, predictions.folder("cross_tv", run_id.seed) / f"fold{run_id.fold}.safetensors"
        )
        chosen = additive.choose(count, 2, 11, np.random.default_rng([*run_id, *b"partners"]))
        logits = additive.crossed(run.combined(), count, chosen)
        scored = [
            (additive.project(logits[:, :, start::2], chosen[:, start::2]).argmax(axis=1) == actual).mean()
            for start in (0, 1)
        ]
        errors.append((1 - 11 / count) * (scored[0] - scored[1]) ** 2 / 4)
    table = pd.read_csv("metrics/emap.csv").set_index(["a", "score"])
    assert sum(errors) > 0
    assert table.loc[("cross_tv", "accuracy"), "sampling_error"] == pytest.approx(np.sqrt(sum(errors)) / 4)


def test_missings_table(study):
    table = pd.read_csv("metrics/missing.csv", keep_default_na=False)
    sizes = [(NOISE, "0.5"), (NOISE, "3.0"), (LEFT_OUT, "")]
    for variant, names in (("self_t", ["text"]), ("cross_tv", ["text", "video"])):
        own = table[(table["variant"] == variant) & (table["score"] == "accuracy")]
        rows = [["", WHOLE, ""], *([name, *size] for name in names for size in sizes)]
        assert own[["modality", "change", "size"]].values.tolist() == rows
        aim = task.classes(corpus.read_meta().classes)
        whole = scores.run_scores(predictions.read_study([variant], SEEDS, aim), aim)["accuracy"]
        assert float(own["mean"].iloc[0]) == pytest.approx(whole.mean())
        assert float(own["std"].iloc[0]) == pytest.approx(whole.std())
        assert own["difference"].astype(float).to_numpy() == pytest.approx(own["mean"].astype(float) - whole.mean())
        assert (own["runs"].astype(int) == 4).all()
    page = Path("metrics/missing.md").read_text()
    assert "| Model | Modality | Whole | Noise 0.5 SD | Noise 3 SD | Left out |" in page


def test_off_it_needs_no_weights_and_leaves_what_dvc_expects(study):
    for path in Path("runs").rglob("*.safetensors"):
        path.unlink()
    change_params(train__save_weights=False, evaluate__emap=False, evaluate__missing=False)
    stage.main()
    for name in ("emap", "missing"):
        assert Path(f"metrics/{name}.md").read_text() == (
            f"Not asked for: `evaluate.{name}` in params.yaml is false (docs/evaluations.md).\n"
        )
        assert len(Path(f"metrics/{name}.csv").read_text().splitlines()) == 1
    assert [path.name for path in stage.PLOTS.iterdir()] == ["README.md"]
    assert [path.name for path in stage.FOLDER.iterdir()] == ["README.md"]


def test_one_without_the_other(study):
    before = Path("metrics/emap.csv").read_text()
    change_params(evaluate__missing=False)
    stage.main()
    assert Path("metrics/emap.csv").read_text() == before
    assert "Not asked for" in Path("metrics/missing.md").read_text()
    change_params(variants=["self_t"], headline__modalities="t", compare__pairs=[])
    stage.main()
    assert "No variant has several modalities." in Path("metrics/emap.md").read_text()


def test_weights_that_are_not_there_or_not_the_runs(study):
    path = predictions.folder("cross_tv", 2) / "fold2.safetensors"
    before, tables = path.read_bytes(), written()
    other = predictions.folder("self_t", 2) / "fold2.safetensors"
    damages = {
        "is missing: set train.save_weights: true in params.yaml, then run dvc repro": None,
        "must hold a model's weights, but is damaged": before[:100],
        "must hold the weights of the variant's model, but Missing key": other.read_bytes(),
    }
    for message, content in damages.items():
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=rf"^runs/cross_tv/seed2/fold2\.safetensors {message}"):
            stage.main()
        assert written() == tables
    path.write_bytes(before)
    predicted = predictions.read("cross_tv", 2, task.classes(corpus.read_meta().classes)).drop(
        columns=["variant", "seed"]
    )
    predicted.iloc[-1, -7:] = np.float32([1, 0, 0, 0, 0, 0, 0])
    predictions.write(path.parent, predicted)
    with pytest.raises(UserError, match=r"fold2\.safetensors must hold the weights that gave the predictions beside"):
        stage.main()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluate__emap": True}, "train.save_weights must be true when evaluate.emap is true, but is false"),
        ({"evaluate__missing": True}, "train.save_weights must be true when evaluate.missing is true, but is false"),
        ({"evaluate__noise": [1.0, 0.5]}, r"evaluate.noise: must rise, but is \[1.0, 0.5\]"),
        ({"evaluate__noise": [0.0]}, "evaluate.noise.0: must be greater than 0, but is 0.0"),
        ({"evaluate__partners": 1}, "evaluate.partners: must be greater than or equal to 2, but is 1"),
        ({"model__modality_dropout": 1.0}, "model.modality_dropout: must be less than 1, but is 1.0"),
    ],
)
def test_params_that_break_a_rule(changes, message, tmp_path):
    document = changed(yaml.safe_load((ROOT / "params.yaml").read_text()), changes)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(UserError, match=message):
        params.load(tmp_path / "params.yaml")
