"""What params.yaml may say, and what is said when it may not."""

import copy
import dataclasses
import difflib
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.common import fusion_settings, params, variants, yaml_file
from stages.common.errors import UserError
from tests.conftest import changed

COMMITTED = yaml.safe_load(params.PATH.read_text())
TRAINED = [name for name, own in variants.FUSIONS.items() if own.trained]


def load(document, tmp_path) -> params.Params:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return params.load(path)


def said(document, tmp_path) -> str:
    """What is said of a document, on one line and without the file's name."""
    with pytest.raises(UserError) as error:
        load(document, tmp_path)
    (line,) = str(error.value).splitlines()
    return line.removeprefix(f"{tmp_path / 'params.yaml'}: ")


@pytest.fixture
def fusion_file(tmp_path, monkeypatch) -> Iterator[Callable[[str | bytes], None]]:
    """Registers the fusion `gated`; gives what writes its file, in a copy of the folder of fusions."""
    folder = shutil.copytree(fusion_settings.FOLDER, tmp_path / "fusions")
    monkeypatch.setattr(fusion_settings, "FOLDER", folder)
    monkeypatch.setitem(variants.FUSIONS, "gated", variants.Fusion(label="Gated"))
    fusion_settings.model.cache_clear()

    def write(content: str | bytes) -> None:
        (folder / "gated.py").write_bytes(content.encode() if isinstance(content, str) else content)

    yield write
    fusion_settings.model.cache_clear()


def test_the_committed_file_is_valid_and_has_the_papers_sizes():
    config = params.load()
    assert (config.model.hidden, config.model.heads, config.model.classifier) == (60, 6, 60)
    text, video, audio = (config.modalities[name] for name in ("text", "video", "audio"))
    assert (text.positions, 32 * video.positions, 1000 * audio.positions) == (None, 25, 500)
    assert (text.dropout, video.dropout, audio.dropout) == (0.25, 0, 0)
    assert (config.model.attention_dropout, config.model.padding) == (0.1, "attend")
    protocol = config.train.protocol
    assert (protocol.batch_size, protocol.learning_rate, protocol.lr_factor) == (32, 0.001, 0.1)
    assert (protocol.lr_patience, protocol.patience) == (10, 10)
    assert len(config.variants) == 14


BAD = {
    "unknown key": ({"model__hiden": 90}, r"model.hiden: unknown key \(its value is 90\)"),
    "unknown section": ({"modle": {}}, "modle: unknown key"),
    "wrong type": ({"model__hidden": "60"}, "model.hidden: .* integer, but is '60'"),
    "float for int": ({"model__hidden": 60.5}, "model.hidden: .* integer.* but is 60.5"),
    "bool for int": ({"seeds": [True]}, "seeds.0: .* integer, but is True"),
    "text for list": ({"seeds": "1"}, "seeds: .* list, but is '1'"),
    "unknown fusion": (
        {"variants": ["slef_tva", "self_tva"]},
        "variants: 'slef_tva' must begin with a fusion mechanism",
    ),
    "unknown modality": ({"variants": ["self_tx", "self_tva"]}, "variants: 'self_tx' must name modalities .* 'tx'"),
    "unknown option": ({"variants": ["self_tva_sp", "self_tva"]}, "variants: 'self_tva_sp' .* 'self_sp' is none"),
    "cross of one": (
        {"variants": ["cross_t", "self_tva"]},
        "variants: 'cross_t': cross must have at least 2 modalities, but has 't'",
    ),
    "hyphen": ({"variants": ["self-tva"]}, "'self-tva' must begin with"),
    "half an option": ({"variants": ["self_tva", "self_tva_"]}, "'self_tva_' must begin with .* but 'self_' is none"),
    "variants twice": ({"variants": ["self_tva", "self_tva"]}, "variants: must name each once, but repeats self_tva"),
    "no variants": ({"variants": []}, "variants: .* at least 1 item"),
    "no seeds": ({"seeds": []}, r"seeds: .* at least 1 item.*, but is \[\]"),
    "seeds twice": ({"seeds": [1, 2, 1]}, "seeds: must name each once, but repeats 1$"),
    "negative seed": ({"seeds": [-1]}, "seeds.0: .* greater than or equal to 0, but is -1"),
    "heads": ({"model__heads": 7}, "model.heads must divide the model width 2 × hidden = 120, but is 7"),
    "folds": ({"split__folds": 1}, "split.folds: .* greater than or equal to 2, but is 1"),
    "scheme": ({"split__scheme": "kfold"}, "split.scheme: .*'random'.* but is 'kfold'"),
    "dev share": ({"split__dev_share": 1.0}, "split.dev_share: .* less than 1, but is 1.0"),
    "dropout": ({"model__attention_dropout": 1.0}, "model.attention_dropout: .* less than 1"),
    "padding": ({"model__padding": "ignore"}, "model.padding: .*'attend' or 'mask', but is 'ignore'"),
    "infinite rate": ({"train__protocol__learning_rate": float("inf")}, "train.protocol.learning_rate: .* finite"),
    "workers": ({"train__workers": 0}, "train.workers: .*but is 0"),
    "precision": ({"train__precision": "float16"}, "train.precision: .*'float64' or 'bfloat16', but is 'float16'"),
    "engine": ({"train__engine": "slurm"}, "train.engine: .*'local' or 'ray', but is 'slurm'"),
    "task without a core": ({"train__ray__cpus": 0}, "train.ray.cpus: .* greater than 0, but is 0"),
    "limit of work": ({"train__work__gib": -1}, "train.work.gib: .* greater than 0, but is -1"),
    "checkpoints": ({"train__checkpoint_seconds": -1}, "train.checkpoint_seconds: .* or equal to 0, but is -1"),
    "no root": (
        {"corpus__source": "published_folds"},
        "corpus: root must name a folder when source is published_folds",
    ),
    "class twice": ({"corpus__classes": ["a", "a"]}, "corpus.classes: must be at least two different names"),
    "interaction": ({"corpus__synthetic__interaction": 1.5}, "corpus.synthetic.interaction: .* but is 1.5"),
    "untrained pair": (
        {"compare__pairs": [["self_tv", "cross_tv"], ["self_tva", "gated_tva"]]},
        "compare.pairs must name two of the study's models each, but 'gated_tva' is not among self_t, self_v",
    ),
    "pair of one": ({"compare__pairs": [["self_tv"]]}, "compare.pairs.0: .* at least 2 items"),
    "pair with itself": (
        {"compare__pairs": [["self_tv", "self_tv"]]},
        r"two different models once, but has \[self_tv",
    ),
    "pair twice": (
        {"compare__pairs": [["self_tv", "cross_tv"], ["cross_tv", "self_tv"]]},
        r"each pair .* once, but has \[cross_tv, self_tv\] twice",
    ),
    "margin": ({"compare__margin": 0.0}, "compare.margin: .* greater than 0, but is 0.0"),
    "alpha": ({"compare__alpha": 0.5}, "compare.alpha: .* less than 0.5, but is 0.5"),
    "confusion fold": ({"confusion__fold": 6}, r"confusion.fold must be one of the folds 1 … 5, but is 6$"),
    "fold of three": ({"split__folds": 3, "confusion__fold": 4}, "confusion.fold must be one of the folds 1 … 3, but"),
    "seed too large": ({"seeds": [2**32]}, "seeds.0: .* less than or equal to 4294967295, but is 4294967296"),
    "fold of two repeats": (
        {"split__folds": 3, "split__repeats": 2, "confusion__fold": 7},
        "confusion.fold must be one of the folds 1 … 6, but is 7",
    ),
    "no repeats": ({"split__repeats": 0}, "split.repeats: .* greater than or equal to 1, but is 0"),
    "many repeats": ({"split__repeats": 101}, "split.repeats: .* less than or equal to 100, but is 101"),
    "repeats of published folds": (
        {"split__scheme": "published", "split__repeats": 3},
        "split: repeats must be 1 where the scheme is published, not random, but is 3",
    ),
    "group": ({"split__group": "session"}, "split.group: .*'dialogue' or 'speaker', but is 'session'"),
    "group of left out speakers": (
        {"split__scheme": "leave_speaker_out", "split__group": "dialogue"},
        "split: group must be null where the scheme is leave_speaker_out, not random, but is dialogue",
    ),
    "task": ({"task": "emotions"}, "task: .*'classes' or 'dimensions', but is 'emotions'"),
    "task of the published arrays": (
        {"task": "dimensions", "corpus__source": "published_folds", "corpus__root": "x"},
        "task must be classes for corpus.source published_folds, but is dimensions, which only synthetic, manifest, ",
    ),
    "metric of the other task": (
        {"task": "dimensions", "compare__metrics": ["ccc", "accuracy"]},
        "compare.metrics must be auto or of ccc where task is dimensions, but one is accuracy",
    ),
    "selection of the other task": (
        {"train__protocol__select": "ccc"},
        "train.protocol.select must be auto or accuracy, balanced_accuracy or loss where task is classes, but is ccc",
    ),
    "reference of the other task": (
        {"task": "dimensions", "references": ["majority_tva"]},
        "references must be late_… or prior_… where task is dimensions, but one is majority_tva",
    ),
    "scale": ({"corpus__scale": [5.0, 1.0]}, "corpus.scale: must be the lowest and the highest value, but is"),
    "select": ({"train__protocol__select": "f1"}, "train.protocol.select: .*'balanced_accuracy'.*, but is 'f1'"),
    "split seed": ({"split__seed": 2**32}, "split.seed: .* less than or equal to 4294967295, but is 4294967296"),
    "size": ({"model__hidden": 10**30}, "model.hidden: .* less than or equal to 65536, but is 10{30}$"),
    "root": ({"corpus__root": "a\0b"}, "corpus.root: must be a folder's path of printable characters, but is 'a"),
    "half a fusion": (
        {"headline__attention": "crosself"},
        r"headline: 'crosself_tva' must begin with [^[{]* but 'crosself' is none$",
    ),
    "headline": ({"headline__attention": "none"}, "headline: 'none_tva' must begin with"),
    "trained reference": (
        {"references": ["self_tva"]},
        "references: 'self_tva' must be a reference, but self is trained: it belongs in variants$",
    ),
    "untrained variant": (
        {"variants": ["self_tva", "late_tva"]},
        "variants: 'late_tva' must be trained, but late is a reference: it belongs in references$",
    ),
    "unknown reference": ({"references": ["later_tva"]}, "references: 'later_tva' must begin with a fusion mechanism"),
    "late of one": ({"references": ["late_t"]}, "references: 'late_t': late must have at least 2 modalities"),
    "references twice": ({"references": ["prior_t", "prior_t"]}, "references: must name each once, but repeats"),
    "no references": ({"references": None}, "references: must be a valid list, but is None"),
    "reference's letters": (
        {"references": ["majority_vt"]},
        "references: 'majority_vt' must name modalities by the letters of `modalities`, in their order 'tva', but has",
    ),
    "late without a part": (
        {"variants": ["self_t", "self_a", "self_tva"], "references": ["late_ta", "late_tva"]},
        "references: 'late_tva' must have self_t, self_v, self_a among variants, but self_v is missing$",
    ),
    "late without parts": (
        {"variants": ["self_a", "self_tva"], "references": ["late_tva"]},
        "'late_tva' must have self_t, self_v, self_a among variants, but self_t, self_v are missing$",
    ),
    "pair of no reference": (
        {"references": ["late_tva"], "compare__pairs": [["prior_tva", "late_tva"]]},
        "compare.pairs must name two of the study's models each, but 'prior_tva' is not among self_t, .*, late_tva$",
    ),
    "settings of a reference": ({"fusions": {"late": {}}}, "fusions: keys must be fusions, .*, but one is 'late'$"),
    "headline of a reference": (
        {"references": ["late_tva"], "headline__attention": "late"},
        "headline.modalities must name one of the study's variants, but 'late_tva' is not among self_t",
    ),
    "untrained headline": ({"variants": ["self_t"]}, "headline.attention and headline.modalities must name one of"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_named_with_its_rule(name, tmp_path):
    changes, message = BAD[name]
    with pytest.raises(UserError, match=message):
        load(changed(COMMITTED, changes), tmp_path)


SECTIONS = ("variants", "seeds", "modalities", "corpus", "split", "headline", "confusion")


def without(document: dict, key: str) -> dict:
    """A document without a key, which is written with dots."""
    document = copy.deepcopy(document)
    *sections, last = key.split(".")
    below = document
    for name in sections:
        below = below[name]
    del below[last]
    return document


@pytest.mark.parametrize("key", [*SECTIONS, "headline.attention", "headline.modalities", "modalities.video.letter"])
def test_a_missing_key(key, tmp_path):
    assert said(without(COMMITTED, key), tmp_path) == f"{key}: this key is missing"


def test_keys_left_out_take_the_papers_values(tmp_path):
    letters = {name: {"letter": own["letter"]} for name, own in COMMITTED["modalities"].items()}
    few = {key: COMMITTED[key] for key in ("variants", "seeds", "headline")}
    few |= {"modalities": letters, "corpus": {}, "split": {}, "compare": {}, "confusion": {}}
    config, expected = load(few, tmp_path), load(COMMITTED, tmp_path)
    assert config.model_copy(update={"modalities": expected.modalities}) == expected
    plain = {"features": None, "positions": None, "dropout": 0.0, "standardise": False}  # the paper's are of each
    assert config.modalities["video"].model_dump() == plain | {"letter": "v"}


def keys(document: dict) -> list[str]:
    """The keys of all sections and values, with dots."""
    below = {key: keys(value) if isinstance(value, dict) else [] for key, value in document.items()}
    return [name for key, own in below.items() for name in (key, *(f"{key}.{each}" for each in own))]


@pytest.mark.parametrize("section", ["corpus", "split", "model", "train", "compare", "confusion"])
def test_any_key_may_be_left_out(section, tmp_path):
    expected = load(COMMITTED, tmp_path)
    for key in keys(COMMITTED[section]):
        assert load(without(COMMITTED, f"{section}.{key}"), tmp_path) == expected, key


def modalities(**letters) -> dict:
    """Params with more modalities, by their letters."""
    return {"modalities": COMMITTED["modalities"] | {name: {"letter": letter} for name, letter in letters.items()}}


NAME = "modalities: a name must be up to 40 lower-case letters, digits and _, the first a letter, but is "
LETTER = "must be one lower-case letter, a to z, but is "
ORDER = "must name modalities by the letters of `modalities`, in their order"
WRONG_MODALITIES = {
    "upper case": (modalities(Face="f"), f"{NAME}'Face'"),
    "digit first": (modalities(**{"3d": "f"}), f"{NAME}'3d'"),
    "underscore first": (modalities(_face="f"), f"{NAME}'_face'"),
    "hyphen": (modalities(**{"face-mesh": "f"}), f"{NAME}'face-mesh'"),
    "a line": (modalities(**{"face\n": "f"}), f"{NAME}'face\\n'"),
    "path": (modalities(**{"../face": "f"}), f"{NAME}'../face'"),
    "41 letters": (modalities(**{"f" * 41: "f"}), f"{NAME}'{'f' * 41}'"),
    "no name": (modalities(**{"": "f"}), f"{NAME}''"),
    "none": ({"modalities": {}}, "modalities: must be 1 to 8, but are 0"),
    "nine": (modalities(**{f"m_{letter}": letter for letter in "bcdefg"}), "modalities: must be 1 to 8, but are 9"),
    "list": ({"modalities": ["text"]}, "modalities: must be a mapping of keys to values, but is ['text']"),
    "letter alone": ({"modalities__text": "t"}, "modalities.text: must be a mapping of keys to values, but is 't'"),
    "large letter": (modalities(face="F"), f"modalities.face.letter: {LETTER}'F'"),
    "two letters": (modalities(face="fa"), f"modalities.face.letter: {LETTER}'fa'"),
    "a letter and a line": (modalities(face="f\n"), f"modalities.face.letter: {LETTER}'f\\n'"),
    "another alphabet": (modalities(face="ф"), f"modalities.face.letter: {LETTER}'ф'"),
    "digit": (modalities(face="1"), f"modalities.face.letter: {LETTER}'1'"),
    "no text": (modalities(face=1), "modalities.face.letter: must be a valid string, but is 1"),
    "letter twice": (modalities(face="v"), "modalities: letters must differ, but 'v' is that of video and face"),
    "unknown setting": ({"modalities__text__longest": 9}, "modalities.text.longest: unknown key (its value is 9)"),
    "positions": (
        {"modalities__text__positions": 1.5},
        "modalities.text.positions: must be less than or equal to 1, but is 1.5",
    ),
    "no positions": ({"modalities__text__positions": 0}, "modalities.text.positions: must be greater than 0, but is 0"),
    "dropout": ({"modalities__text__dropout": 1.0}, "modalities.text.dropout: must be less than 1, but is 1.0"),
    "standardise": (
        {"modalities__audio__standardise": "no"},
        "modalities.audio.standardise: must be a valid boolean, but is 'no'",
    ),
    "unknown letter": ({"variants": ["self_tva", "self_tx"]}, f"variants: 'self_tx' {ORDER} 'tva', but has 'tx'"),
    "other order": ({"variants": ["self_tva", "self_at"]}, f"variants: 'self_at' {ORDER} 'tva', but has 'at'"),
    "order of the section": (
        {"modalities": dict(reversed(COMMITTED["modalities"].items())), "variants": ["self_avt", "self_ta"]},
        f"variants: 'self_ta' {ORDER} 'avt', but has 'ta'",
    ),
    "a fourth one's place": (
        modalities(face="f") | {"variants": ["self_ft"]},
        f"variants: 'self_ft' {ORDER} 'tvaf', but has 'ft'",
    ),
    "letter twice in a variant": (
        {"variants": ["self_tt"]},
        "variants: 'self_tt' must name its modalities by different lower-case letters, but has 'tt'",
    ),
}


@pytest.mark.parametrize("name", WRONG_MODALITIES)
def test_wrong_modalities_are_said(name, tmp_path):
    changes, message = WRONG_MODALITIES[name]
    assert said(changed(COMMITTED, changes), tmp_path) == message


def test_other_modalities_than_the_papers(tmp_path):
    own = {"face": {"letter": "z"}, "eeg_2": {"letter": "b"}}
    headline = {"attention": "self", "modalities": "b"}
    changes = {"modalities": own, "variants": ["cross_zb", "self_b"], "headline": headline}
    assert load(changed(COMMITTED, changes), tmp_path).letters == "zb"


WRONG_SETTINGS = {
    "unknown fusion": (
        {"gated": {}},
        f"fusions: keys must be fusions, {', '.join(TRAINED)}, but one is 'gated'",
    ),
    "unknown setting": ({"cross": {"hads": 4}}, "fusions.cross.hads: unknown key (its value is 4)"),
    "text for a number": ({"cross": {"heads": "4"}}, "fusions.cross.heads: must be a valid integer, but is '4'"),
    "true for a number": ({"cross": {"heads": True}}, "fusions.cross.heads: must be a valid integer, but is True"),
    "no heads": ({"cross": {"heads": 0}}, "fusions.cross.heads: must be greater than or equal to 1, but is 0"),
    "dropout": (
        {"self_nosp": {"attention_dropout": 1.0}},
        "fusions.self_nosp.attention_dropout: must be less than 1, but is 1.0",
    ),
    "heads that do not divide": (
        {"cross": {"heads": 7}},
        "fusions.cross.heads must divide the model width 2 × hidden = 120, but is 7",
    ),
    "of a fusion that is not trained": (
        {"self_nosp": {"heads": 9}},
        "fusions.self_nosp.heads must divide the model width 2 × hidden = 120, but is 9",
    ),
    "list": ({"cross": [4]}, "fusions.cross: must be a mapping of keys to values, but is [4]"),
    "nothing": ({"cross": None}, "fusions.cross: must be a mapping of keys to values, but is None"),
    "a number as a key": ({"cross": {4: 4}}, "fusions.cross.4: Keys should be strings, but is 4"),
}


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_wrong_settings_of_fusions_are_said(name, tmp_path):
    sections, message = WRONG_SETTINGS[name]
    with_pooling = [variant for variant in COMMITTED["variants"] if not variant.endswith("nosp")]
    assert said(changed(COMMITTED, {"fusions": sections, "variants": with_pooling}), tmp_path) == message


def test_a_setting_is_the_fusions_own_else_its_default_else_that_of_model(tmp_path, fusion_file):
    fusion_file("def build(modalities, width, *, heads: Size, hidden: int = 3, kind: str = 'sum', size: Size): ...")
    config = load(changed(COMMITTED, {"fusions": {"gated": {"size": 5}, "cross": {"heads": 4}}}), tmp_path)
    assert config.settings("gated") == {"heads": 6, "hidden": 3, "kind": "sum", "size": 5}
    assert config.settings("cross") == {"heads": 4, "attention_dropout": 0.1}
    assert config.settings("self") == {"heads": 6, "attention_dropout": 0.1}


def test_heads_of_model_that_no_fusion_takes_need_not_divide_the_width(tmp_path):
    own = {name: {"heads": 6} for name in ("self", "cross")}
    changes = {"model__heads": 7, "fusions": own, "variants": ["self_tva", "cross_tva"]}
    assert load(changed(COMMITTED, changes), tmp_path).settings("self")["heads"] == 6


def test_a_setting_that_nothing_says_is_missing(tmp_path, fusion_file):
    fusion_file("def build(modalities, width, *, heads: Size, gates: Size): ...")
    document = changed(COMMITTED, {"variants": [*COMMITTED["variants"], "gated_tv"]})
    assert said(document, tmp_path) == "fusions.gated.gates: this key is missing"
    load(changed(document, {"fusions": {"gated": {"gates": 2}}}), tmp_path)


def test_a_value_of_model_that_a_fusion_does_not_take_is_said_with_its_key(tmp_path, fusion_file):
    fusion_file("def build(modalities, width, *, heads: Literal[1, 2]): ...")
    document = changed(COMMITTED, {"variants": [*COMMITTED["variants"], "gated_tv"]})
    assert said(document, tmp_path) == "model.heads: must be 1 or 2, but is 6"


def test_heads_of_a_default_that_do_not_divide_are_said_where_they_can_be_changed(tmp_path, fusion_file):
    fusion_file("def build(modalities, width, *, heads: Size = 7): ...")
    document = changed(COMMITTED, {"variants": [*COMMITTED["variants"], "gated_tv"]})
    message = "fusions.gated.heads must divide the model width 2 × hidden = 120, but is 7"
    assert said(document, tmp_path) == message


def test_all_mistakes_are_said_at_once(tmp_path):
    with pytest.raises(UserError, match=r"(?s)split.folds.*model.hidden"):
        load(changed(COMMITTED, {"model__hidden": 0, "split__folds": 1}), tmp_path)


PLAIN = ["0500", "0o17", "0x1f", "0b101", "1:30", "1e-3", "1E5", ".5", "1.", "1_000", "+1", ".inf", "-.Inf", "yes"]
PLAIN += ["on", "no", "~", "null", "true", "True", "'5'", "[0500]", "", "!!str 5", "{b: 07}", "&x [1]\nb: *x"]


@pytest.mark.parametrize("value", [*PLAIN, "{b: &x {c: 1}, d: {<<: *x}}"])
def test_yaml_is_read_as_dvc_reads_it(value, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(f"a: {value}\n")
    assert repr(yaml_file.read(path)) == repr(load_yaml(path))


def test_numbers_are_what_dvc_takes_them_for(tmp_path):
    text = params.PATH.read_text().replace("utterances: 350", "utterances: 0500")
    (tmp_path / "params.yaml").write_text(text.replace("learning_rate: 0.001", "learning_rate: 1e-3"))
    config = params.load(tmp_path / "params.yaml")
    assert (config.corpus.synthetic.utterances, config.train.protocol.learning_rate) == (500, 0.001)


BOMB = "a0: &a0 [0,0,0,0,0,0,0,0,0]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
NO_VALUES = {
    "no end": (b"a: [", r", line 1: is not valid YAML: while parsing a flow node"),
    "tab": (b"a: 1\n\tb: 2", ", line 2: is not valid YAML"),
    "key twice": (b"a: 1\na: 2", ', line 2: is not valid YAML: .* found duplicate key "a"'),
    "two documents": (b"a: 1\n---\nb: 2", ", line 2: is not valid YAML: expected a single document"),
    "control character": (b"a: \x07", "is not valid YAML: character #x0007 may not be in it"),
    "not UTF-8": (b"a: 1\nb: \xff", ", line 2: must be UTF-8, but has the byte 0xff"),
    "no such day": (b"a: 2020-02-30", r", line 1: must be text, a number, .* but is '2020-02-30' \(timestamp\)"),
    "no bool": (b"a: !!bool maybe", r", line 1: must be .* but is 'maybe' \(bool\)"),
    "no int": (b"a: !!int ''", r", line 1: must be .* but is '' \(int\)"),
    "no digits": (b"a: 0o_", "is not valid YAML"),
    "object": (b"a: !!python/object/apply:os.system [x]", ", line 1: the tag .*os.system' is not allowed"),
    "set": (b"a: !!set {x}", ", line 1: the tag .*set' is not allowed"),
    "bytes": (b"a: !!binary aGk=", ", line 1: must be text, a number"),
    "key of lists": (b"? [a]\n: 1", ", line 1: a key must be text"),
    "5,000 digits": (b"a: " + b"9" * 5000, ", line 1: a number must have at most 100 characters, but has 5000"),
    "3,000 levels": (b"[" * 3000, "is nested too deeply"),
    "alias bomb": (BOMB.encode(), "must hold at most 100000 values, but holds more"),
    "holds itself": (b"a: &x [*x]", "must hold at most 100000 values"),
    "too large": (b"#" * (2**20 + 1), "must have at most 1048576 bytes, but has more"),
    "list": (b"- 1", r"must hold sections such as `model:`, but is \[1\]"),
    "nothing": (b"", "must hold sections such as `model:`, but is None"),
}


@pytest.mark.parametrize("name", NO_VALUES)
def test_what_is_no_plain_yaml_is_said_with_its_line(name, tmp_path):
    content, message = NO_VALUES[name]
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path}.*{message}"):
        params.load(path)


LINES = params.PATH.read_text().splitlines()
TOKENS = (
    ["", "~", "0", "-1", "0500", "1e400", "1:30", "2020-02-30", "!!int ''", "!!bool x", "[]", "{}", "[[]]", "{a: {}}"],
    ["9" * 5000, "1" + "0" * 30, ".nan", "'", '"', "*x", "&x y", "<<", "|", "- a", "?", "\x00", "\ufeff", "é", "%"],
    ["self_tva", "../../x", "auto", "random", "published_folds", "!!python/name:os.system", "? [a]", "\t", "\ud800"],
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, len(LINES) - 1),
            st.sampled_from(["value", "key", "drop", "twice", "indent"]),
            st.sampled_from(list(chain(*TOKENS))),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_no_change_of_the_file_ends_in_a_traceback(changes, tmp_path):
    lines = list(LINES)
    for number, kind, token in changes:
        key, colon, _ = lines[number].partition(":")
        item = lines[number].startswith("- ")
        lines[number] = {
            "value": f"- {token}" if item else f"{key}{colon} {token}",
            "key": f"{token}:{lines[number].partition(':')[2]}",
            "drop": "",
            "twice": f"{lines[number]}\n{lines[number]}",
            "indent": f" {lines[number]}",
        }[kind]
    path = tmp_path / "params.yaml"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    with suppress(UserError):
        config = params.load(path)
        assert params.Params.model_validate(load_yaml(path)) == config  # as DVC reads it


OVERRIDES = {
    "seeds=[1,2]": ["-- 3"],
    "seeds=[1,2,3,4]": ["+- 4"],
    "model.hidden=90": ["-  hidden: 60", "+  hidden: 90"],
    "corpus.root=/data": [
        "-  root: # null, or the corpus's folder",
        "+  root: /data # null, or the corpus's folder",
    ],
    "corpus.synthetic.seed=1": ["-    seed: 2022", "+    seed: 1"],
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_an_override_changes_one_line(override, tmp_path):
    path = tmp_path / "params.yaml"
    shutil.copy(params.PATH, path)
    apply_overrides(path, [override])
    changes = difflib.unified_diff(LINES, path.read_text().splitlines(), n=0, lineterm="")
    assert [line for line in changes if not line.startswith(("---", "+++", "@@"))] == OVERRIDES[override]


WRONG_ENTRIES = {
    "against nothing known": ({"against": ("selff",)}, r"against must be .*, but is \('selff',\)"),
    "against text": ({"against": "cross"}, "against must be a tuple"),
    "against itself": ({"against": ("self",)}, "against must be a tuple of other fusions"),
    "not trained": ({"trained": False}, "trained must be False for those of UNTRAINED in .*, and True for"),
    "label": ({"label": "Cross"}, r"FUSIONS\['cross'\]: label must be its own, but 'Cross' is another fusion's too"),
}


@pytest.mark.parametrize("name", WRONG_ENTRIES)
def test_a_wrong_entry_of_the_registry_is_said(name, monkeypatch):
    variants.check()
    changes, message = WRONG_ENTRIES[name]
    monkeypatch.setitem(variants.FUSIONS, "self", dataclasses.replace(variants.FUSIONS["self"], **changes))
    with pytest.raises(UserError, match=message):
        variants.check()


def test_a_wrong_name_in_the_registry_is_said(monkeypatch):
    monkeypatch.setitem(variants.FUSIONS, "my-self", dataclasses.replace(variants.FUSIONS["self"], label="Mine"))
    with pytest.raises(UserError, match=r"FUSIONS\['my-self'\]: a name must be lower-case letters and digits"):
        variants.check()


FILE = "stages/train/fusions/gated.py: "
ANNOTATION = (
    "its annotation must be one of bool, float, int, str, Size, Count, Probability, Share or Literal[…], but is "
)
CONSTANT = "must be a number, text, True, False or None, but is "
BUILD = "build must be build(modalities, width, *, settings …), but is "
ANOTHER_NAME = "a setting must have another name: this one is pydantic's"
WRONG_FILES = {
    "no build": (
        "def biuld(modalities, width): ...",
        "must define a function build(modalities, width, *, settings …), but does not",
    ),
    "no Python": ("def build(\n", "must be Python, but: '(' was never closed (gated.py, line 1)"),
    "no text": (
        b"\xff",
        "must be Python, but: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
    ),
    "a nul": ("\0", "must be Python, but: source code string cannot contain null bytes"),
    "too deep": ("(" * 300, "must be Python, but: too many nested parentheses (gated.py, line 1)"),
    "settings that are not keyword-only": (
        "def build(modalities, width, heads: Size): ...",
        f"{BUILD}build(modalities, width, heads: Size)",
    ),
    "any settings": ("def build(m, w, **settings): ...", f"{BUILD}build(m, w, **settings)"),
    "not annotated": ("def build(m, w, *, heads=6): ...", f"build: heads: {ANNOTATION}missing"),
    "another type": ("def build(m, w, *, heads: list[int]): ...", f"build: heads: {ANNOTATION}list[int]"),
    "a type of another module": ("def build(m, w, *, heads: plan.Size): ...", f"build: heads: {ANNOTATION}plan.Size"),
    "a type in quotes": ("def build(m, w, *, heads: 'Size'): ...", f"build: heads: {ANNOTATION}'Size'"),
    "a choice of names": ("def build(m, w, *, kind: Literal[SUM, 'mean']): ...", f"build: kind: {CONSTANT}SUM"),
    "a choice of lists": ("def build(m, w, *, kind: Literal[[1]]): ...", f"build: kind: {CONSTANT}[1]"),
    "a choice of bytes": ("def build(m, w, *, kind: Literal[b'a']): ...", f"build: kind: {CONSTANT}b'a'"),
    "a default that is computed": ("def build(m, w, *, heads: Size = 2 * 3): ...", f"build: heads: {CONSTANT}2 * 3"),
    "a default that is a list": ("def build(m, w, *, heads: Size = []): ...", f"build: heads: {CONSTANT}[]"),
    "a default out of range": (
        "def build(m, w, *, dropout: Probability = 1.0): ...",
        "build: dropout: its default must be less than 1, but is 1.0",
    ),
    "a default of another type": (
        "def build(m, w, *, heads: Size = None): ...",
        "build: heads: its default must be a valid integer, but is None",
    ),
    "a default that is not chosen from": (
        "def build(m, w, *, kind: Literal['sum', 'mean'] = 'max'): ...",
        "build: kind: its default must be 'sum' or 'mean', but is 'max'",
    ),
    "a field's name": ("def build(m, w, *, model_dump: Size): ...", f"build: model_dump: {ANOTHER_NAME}"),
    "a hidden name": ("def build(m, w, *, _heads: Size): ...", f"build: _heads: {ANOTHER_NAME}"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_file_of_a_fusion_is_said(name, fusion_file):
    content, message = WRONG_FILES[name]
    fusion_file(content)
    with pytest.raises(UserError) as error:
        variants.check()
    assert str(error.value) == FILE + message


def test_a_fusion_without_a_file_is_said(fusion_file):
    with pytest.raises(UserError) as error:
        variants.check()
    assert str(error.value) == f"{FILE}this file must define the fusion 'gated', but is missing"


def test_a_fusions_file_is_read_but_not_run(fusion_file, tmp_path):
    fusion_file(
        f"open({str(tmp_path / 'run')!r}, 'w')\n"
        "def build(modalities, width, *, a: bool = True, b: float = -1, c: Literal[1, 'x', None] = None, d: Share): ..."
    )
    variants.check()
    assert not (tmp_path / "run").exists()
    fields = fusion_settings.model("gated").model_fields
    assert {name: field.default for name, field in fields.items() if name != "d"} == {"a": True, "b": -1.0, "c": None}
    assert fusion_settings.required("gated") == {"d"}


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="is missing: run stages from the repository's root"):
        params.load(tmp_path / "params.yaml")


def test_a_stage_says_it_without_a_traceback(study):
    study.set(model__heads=7)
    stages = ("plan", "corpus", "split", "references", "aggregate", "ttest", "confusion", "headline")
    for module in (*(f"stages.{stage}" for stage in stages), "tools.check_params"):
        done = study.run("python", "-m", module)
        assert done.returncode == 1
        assert done.stderr == "error: params.yaml: model.heads must divide the model width 2 × hidden = 12, but is 7\n"
    assert not (study.folder / "data").exists()
