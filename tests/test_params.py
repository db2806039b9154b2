"""What params.yaml may say, and what is said when it may not."""

import pytest
import yaml

from stages import params
from stages.cli import UserError
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
    "seeds twice": ({"seeds": [1, 2, 1]}, "seeds: must name each once, but repeats 1, but is"),
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


def test_no_yaml(tmp_path):
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(UserError, match="is not valid YAML"):
        params.load(tmp_path / "params.yaml")


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="is missing: run stages from the repository's root"):
        params.load(tmp_path / "params.yaml")


def test_a_stage_says_it_without_a_traceback(study):
    study.set(model__heads=7)
    for stage in ("prepare", "split", "aggregate", "ttest", "confusion", "headline", "params"):
        done = study.stage(stage)
        assert done.returncode == 1
        assert done.stderr == "error: params.yaml: model: heads must divide the model width 2 × hidden = 12, but is 7\n"
    assert not (study.folder / "data").exists()
