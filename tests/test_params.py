"""What params.yaml may say, and what is said when it may not."""

import dataclasses
import difflib
import shutil
from contextlib import suppress
from itertools import chain

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.common import params, variants, yaml_file
from stages.common.errors import UserError
from tests.conftest import changed

COMMITTED = yaml.safe_load(params.PATH.read_text())


def load(document, tmp_path) -> params.Params:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(document))
    return params.load(path)


def test_the_committed_file_is_valid_and_has_the_papers_sizes():
    config = params.load()
    assert (config.model.hidden, config.model.heads, config.model.classifier) == (60, 6, 60)
    assert round(1000 * config.model.positions.audio) == 500
    assert round(32 * config.model.positions.video) == 25
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
    "unknown modality": ({"variants": ["self_tx", "self_tva"]}, "variants: 'self_tx' must name its modalities .* 'tx'"),
    "unknown option": ({"variants": ["self_tva_sp", "self_tva"]}, "variants: 'self_tva_sp' .* 'self_sp' is none"),
    "cross of one": ({"variants": ["cross_t", "self_tva"]}, "variants: 'cross_t': cross needs at least 2 modalities"),
    "hyphen": ({"variants": ["self-tva"]}, "'self-tva' must begin with"),
    "variants twice": ({"variants": ["self_tva", "self_tva"]}, "variants: must name each once, but repeats self_tva"),
    "no variants": ({"variants": []}, "variants: .* at least 1 item"),
    "no seeds": ({"seeds": []}, r"seeds: .* at least 1 item.*, but is \[\]"),
    "seeds twice": ({"seeds": [1, 2, 1]}, "seeds: must name each once, but repeats 1$"),
    "negative seed": ({"seeds": [-1]}, "seeds.0: .* greater than or equal to 0, but is -1"),
    "heads": ({"model__heads": 7}, "model: heads must divide the model width 2 × hidden = 120, but is 7"),
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
        r"compare.pairs must name two of the study's variants each, but 'gated_tva' of \[self_tva, gated_tva\] is not",
    ),
    "pair of one": ({"compare__pairs": [["self_tv"]]}, "compare.pairs.0: .* at least 2 items"),
    "pair with itself": (
        {"compare__pairs": [["self_tv", "self_tv"]]},
        r"two different variants once, but has \[self_tv",
    ),
    "pair twice": (
        {"compare__pairs": [["self_tv", "cross_tv"], ["cross_tv", "self_tv"]]},
        r"each pair .* once, but has \[cross_tv, self_tv\] twice",
    ),
    "margin": ({"compare__margin": 0.0}, "compare.margin: .* greater than 0, but is 0.0"),
    "alpha": ({"compare__alpha": 0.5}, "compare.alpha: .* less than 0.5, but is 0.5"),
    "confusion fold": ({"confusion__fold": 6}, r"confusion.fold must be one of the folds 1 … 5, but is 6$"),
    "fold of three": ({"split__folds": 3, "confusion__fold": 4}, "confusion.fold must be one of the folds 1 … 3, but"),
    "seed too large": ({"seeds": [2**32]}, "seeds.0: .* less than 4294967296, but is 4294967296"),
    "split seed": ({"split__seed": 2**32}, "split.seed: .* less than 4294967296"),
    "size": ({"model__hidden": 10**30}, "model.hidden: .* less than or equal to 65536, but is 10{30}$"),
    "root": ({"corpus__root": "a\0b"}, "corpus.root: must be a folder's path of printable characters, but is 'a"),
    "half a fusion": (
        {"headline__attention": "crosself"},
        r"headline: 'crosself_tva' must begin with [^[{]* but 'crosself' is none$",
    ),
    "headline": ({"headline__attention": "none"}, "headline: 'none_tva' must begin with"),
    "untrained headline": ({"variants": ["self_t"]}, "headline.attention and headline.modalities must name one of"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_named_with_its_rule(name, tmp_path):
    changes, message = BAD[name]
    with pytest.raises(UserError, match=message):
        load(changed(COMMITTED, changes), tmp_path)


def test_a_missing_key(tmp_path):
    document = changed(COMMITTED, {})
    del document["model"]["heads"]
    with pytest.raises(UserError, match=r"model.heads: this key is missing"):
        load(document, tmp_path)


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
        "-  root: # null, or the folder of published_folds",
        "+  root: /data # null, or the folder of published_folds",
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
    "builder": ({"builder": "self_attentoin"}, r"FUSIONS\['self'\]: builder must be .*, but 'self_attentoin' is none"),
    "against nothing known": ({"against": ("selff",)}, r"against must be .*, but is \('selff',\)"),
    "against text": ({"against": "cross"}, "against must be a tuple"),
    "against itself": ({"against": ("self",)}, "against must be a tuple of other fusions"),
    "label": ({"label": "Cross"}, "label must be its own, but 'Cross' is another fusion's too"),
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


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="is missing: run stages from the repository's root"):
        params.load(tmp_path / "params.yaml")


def test_a_stage_says_it_without_a_traceback(study):
    study.set(model__heads=7)
    stages = ("plan", "corpus", "split", "aggregate", "ttest", "confusion", "headline")
    for module in (*(f"stages.{stage}" for stage in stages), "tools.check_params"):
        done = study.run("python", "-m", module)
        assert done.returncode == 1
        assert done.stderr == "error: params.yaml: model: heads must divide the model width 2 × hidden = 12, but is 7\n"
    assert not (study.folder / "data").exists()
