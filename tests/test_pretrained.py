"""The pretrained encoders, with tiny models of random weights in folders as their authors publish them."""

import json
import logging.handlers
import shutil
import socket
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402

from stages.common import extractors  # noqa: E402
from stages.common.errors import UserError  # noqa: E402
from stages.features.pretrained import Pretrained, prepare, receptive_field  # noqa: E402

F, LAYERS, SIDE = 14, 3, 21
BODY = {"hidden_size": F, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 17}
SOUND = BODY | {
    "conv_dim": (6, 8),
    "conv_stride": (5, 2),
    "conv_kernel": (11, 3),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "conv_pos_kernel_size": 5,  # of data2vec
    "num_conv_pos_embedding_layers": 2,
    "vocab_size": 11,
    "mask_time_length": 2,
}
FIELD = 21  # samples: 11 + (3 − 1) · 5
WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "so", "it", "goes", "on", "well"]
TEXT = BODY | {"vocab_size": 13, "max_position_embeddings": 20, "pad_token_id": 0}
PICTURE = BODY | {"image_size": SIDE, "patch_size": 7}
AUDIO = ["wav2vec2", "hubert", "wavlm", "data2vec-audio"]
MEAN, SD = (0.5, 0.25, 0.75), (0.5, 0.25, 0.125)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """No address is looked up and nothing connects, in any thread."""
    calls = []

    def refuse(*arguments, **_):
        calls.append(arguments)
        raise OSError("no network")

    for owner, name in ((socket.socket, "connect"), (socket.socket, "connect_ex"), (socket, "getaddrinfo")):
        monkeypatch.setattr(owner, name, refuse)
    yield
    assert not calls


def build(model_class, config):
    """A model whose weights are all random: none is 0 or 1, as biases and norms are at first."""
    torch.manual_seed(7)
    model = model_class.from_config(config) if hasattr(model_class, "from_config") else model_class(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model.eval()


def write_json(path: Path, **document) -> None:
    path.write_text(json.dumps(document))


def write_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", pad_token="[PAD]")


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Folder and model of a `model_type`, or of one with a head; each is made once."""
    made, root = {}, tmp_path_factory.mktemp("models")

    def make(name: str, auto=transformers.AutoModel):
        key = f"{name}-{auto.__name__}"
        if key not in made:
            medium = "audio" if name in AUDIO else "video" if name in ("vit", "clip") else "text"
            sizes = {"audio": SOUND, "text": TEXT, "video": PICTURE}[medium]
            if name == "roberta":
                sizes = sizes | {"pad_token_id": 1}
            if name == "clip":
                sizes = {"text_config": TEXT, "vision_config": PICTURE, "projection_dim": 5}
            model, folder = build(auto, transformers.AutoConfig.for_model(name, **sizes)), root / key
            model.save_pretrained(folder)
            if medium == "audio":
                write_json(folder / "preprocessor_config.json", do_normalize=name != "wavlm", sampling_rate=16000)
            elif medium == "video":
                write_json(folder / "preprocessor_config.json", image_mean=MEAN, image_std=SD, resample=3)
            if medium == "text" or name == "clip":
                write_tokenizer(folder)
            made[key] = folder, model
        return made[key]

    return make


@pytest.fixture
def copy(make, tmp_path):
    """A copy of a model's folder, to be damaged."""
    return lambda *name: Path(shutil.copytree(make(*name)[0], tmp_path / "copy"))


def load(of: str, weights: Path | str | None, **settings) -> Pretrained:
    weights = None if weights is None else str(weights)
    return Pretrained(
        extractors.Pretrained(extractor="pretrained", of=of, weights=weights, device="cpu", **settings), "m"
    )


def refused(of: str, weights: Path | str | None, message: str, **settings) -> None:
    with pytest.raises(UserError, match=message):
        load(of, weights, **settings)


def run(model, **inputs):
    with torch.no_grad():
        return model(**inputs, output_hidden_states=True)


def close(ours: np.ndarray, theirs: torch.Tensor) -> bool:
    assert ours.dtype == np.float32
    assert ours.shape == tuple(theirs.shape)
    return np.allclose(ours, theirs.numpy(), atol=1e-5)


def sound(n: int) -> np.ndarray:
    return np.random.default_rng(n).normal(0.3, 2.0, n).astype(np.float32)


def pictures(n: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, height, width, 3), np.uint8)


def standardised(frames: np.ndarray) -> torch.Tensor:
    """[n, H, W, 3] of 0 … 255 → [n, 3, H, W]."""
    planes = [(frames[..., i] / 255 - MEAN[i]) / SD[i] for i in range(3)]
    return torch.tensor(np.stack(planes, axis=1), dtype=torch.float32)


@pytest.mark.parametrize("name", AUDIO)
def test_audio_is_the_models_last_hidden_state(make, name):
    folder, model = make(name)
    encoder = load("audio", folder)
    assert (encoder.medium, encoder.rate, encoder.size, encoder.real) == ("audio", 16000, F, True)
    for n in (211, 97, 211):
        samples = torch.tensor(sound(n))
        if name != "wavlm":
            samples = (samples - samples.mean()) / samples.std(correction=0)
        assert close(encoder.audio(sound(n)), run(model, input_values=samples[None]).last_hidden_state[0])


def test_the_encoders_from_stable_layer_norm_on_as_large_models_have(tmp_path):
    config = transformers.AutoConfig.for_model(
        "wav2vec2", **SOUND, do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True
    )
    model = build(transformers.AutoModel, config)
    model.save_pretrained(tmp_path)
    write_json(tmp_path / "preprocessor_config.json", do_normalize=False)
    theirs = run(model, input_values=torch.tensor(sound(97))[None])
    assert close(load("audio", tmp_path).audio(sound(97)), theirs.last_hidden_state[0])
    assert close(load("audio", tmp_path, layer=1).audio(sound(97)), theirs.hidden_states[1][0])


@pytest.mark.parametrize("name", AUDIO)
def test_too_little_sound_has_no_positions(make, name):
    encoder = load("audio", make(name)[0])
    assert encoder.audio(sound(FIELD)).shape == (1, F)
    for n in (0, 1, FIELD - 1):
        assert encoder.audio(sound(n)).shape == (0, F)


def test_receptive_field_of_wav2vec2_is_25_ms():
    assert receptive_field([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2]) == 400
    assert receptive_field([11, 3], [5, 2]) == FIELD


@pytest.mark.parametrize("name", [*AUDIO, "bert", "roberta", "vit", "clip"])
def test_layers(make, name):
    folder, model = make(name)
    if name in AUDIO:
        samples = torch.tensor(sound(97))
        if name != "wavlm":
            samples = (samples - samples.mean()) / samples.std(correction=0)
        states = run(model, input_values=samples[None]).hidden_states
        of, call, wanted = "audio", lambda encoder: encoder.audio(sound(97)), [state[0] for state in states]
    elif name in ("bert", "roberta"):
        states = run(model, input_ids=torch.tensor([[1, 4, 6, 2]])).hidden_states
        of, call, wanted = "text", lambda encoder: encoder.text("so goes"), [state[0, 1:-1] for state in states]
    else:
        model = model.vision_model if name == "clip" else model
        states = run(model, pixel_values=standardised(pictures(5))).hidden_states
        of, call, wanted = "video", lambda encoder: encoder.images(pictures(5)), [state[:, 0] for state in states]
    assert len(wanted) == LAYERS + 1
    for layer in range(LAYERS + 1):
        assert close(call(load(of, folder, layer=layer)), wanted[layer])
    assert close(call(load(of, folder, layer=[0, 3, 1])), (wanted[0] + wanted[3] + wanted[1]) / 3)
    refused(of, folder, "m.features.layer must be last or in 0 … 3, .* but one is 4", layer=4)
    refused(of, folder, "but one is 7", layer=[1, 7])


@pytest.mark.parametrize(("name", "most"), [("bert", 18), ("roberta", 16)])
def test_text_without_special_tokens_and_cut_to_the_models_positions(make, name, most):
    folder, model = make(name)
    encoder = load("text", folder)
    assert (encoder.medium, encoder.size) == ("text", F)
    states = run(model, input_ids=torch.tensor([[1, 4, 5, 6, 3, 2]])).last_hidden_state[0]
    assert close(encoder.text("so it goes somewhere"), states[1:5])
    states = run(model, input_ids=torch.tensor([[1, *([7, 8, 5] * 6)[:most], 2]])).last_hidden_state[0]
    assert close(encoder.text("on well it " * 11), states[1:-1])
    assert len(states) == most + 2
    for nothing in ("", "  \n"):
        assert encoder.text(nothing).shape == (0, F)


def test_text_of_clip(make):
    folder, model = make("clip")
    states = run(model.text_model, input_ids=torch.tensor([[1, 4, 6, 2]])).last_hidden_state[0]
    assert close(load("text", folder).text("so goes"), states[1:3])


def test_a_tokenizer_of_another_model(copy):
    folder = copy("bert")
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace('"well": 8', '"well": 13').replace('"well":8', '"well":13'))
    encoder = load("text", folder)
    assert len(encoder.text("so")) == 1
    with pytest.raises(UserError, match=r"tokens must be below 13, .* but 'so well' has 13"):
        encoder.text("so well")


@pytest.mark.parametrize("name", ["vit", "clip"])
def test_images_are_the_class_tokens(make, name):
    folder, model = make(name)
    encoder = load("video", folder)
    assert (encoder.medium, encoder.size) == ("video", F)
    theirs = run(getattr(model, "vision_model", model), pixel_values=standardised(pictures(19)))
    assert close(encoder.images(pictures(19)), theirs.last_hidden_state[:, 0])
    wide = pictures(2, SIDE, SIDE + 5)
    assert np.array_equal(encoder.images(wide), encoder.images(wide[:, :, 2:-3]))
    assert encoder.images(pictures(0)).shape == (0, F)


@pytest.mark.parametrize(("resample", "method"), [(2, cv2.INTER_LINEAR), (3, cv2.INTER_CUBIC)])
def test_images_are_resized_as_the_folder_says(copy, resample, method):
    folder, frames = copy("vit"), pictures(1, 15, 23)
    write_json(folder / "preprocessor_config.json", image_mean=MEAN, image_std=SD, resample=resample)
    resized = cv2.resize(frames[0], (32, SIDE), interpolation=method)  # 23 · 21 / 15 = 32.2
    encoder = load("video", folder)
    assert np.array_equal(encoder.images(frames), encoder.images(resized[None, :, 5:26]))


def test_shrinking_averages_all_pixels():
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[::4, ::4] = 160  # a sixteenth of each 4 × 4
    assert (prepare(frame, 2, cv2.INTER_LINEAR) == 10).all()


def test_prepare_centres_upright_and_small_frames():
    frame = pictures(1, 11, 5)[0]
    assert np.array_equal(prepare(frame, 5, cv2.INTER_LINEAR), frame[3:8])
    assert prepare(frame, 13, cv2.INTER_LINEAR).shape == (13, 13, 3)


def test_clip_needs_but_its_vision_tower(make, copy):
    folder = copy("clip")
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if name.startswith("vision_model.")}
    assert 0 < len(kept) < len(weights) / 1.5
    save_file(kept, folder / "model.safetensors")
    expected = load("video", make("clip")[0]).images(pictures(3))
    assert np.array_equal(load("video", folder).images(pictures(3)), expected)


@pytest.mark.parametrize("name", AUDIO)
def test_checkpoints_with_a_ctc_head(make, name):
    folder, model = make(name, transformers.AutoModelForCTC)
    samples = torch.tensor(sound(97))
    if name != "wavlm":
        samples = (samples - samples.mean()) / samples.std(correction=0)
    wanted = run(model.base_model, input_values=samples[None]).last_hidden_state[0]
    assert close(load("audio", folder).audio(sound(97)), wanted)


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_checkpoints_with_a_language_modelling_head_load_without_a_word(make, name, capfd):
    folder, model = make(name, transformers.AutoModelForMaskedLM)
    bars = transformers.utils.logging.is_progress_bar_enabled()
    wanted = run(model.base_model, input_ids=torch.tensor([[1, 4, 2]])).last_hidden_state[0, 1:2]
    handler = logging.handlers.BufferingHandler(1000)  # transformers' own writes to the stderr of its import
    transformers.utils.logging.add_handler(handler)
    capfd.readouterr()
    assert close(load("text", folder).text("so"), wanted)
    transformers.utils.logging.remove_handler(handler)
    assert capfd.readouterr() == ("", "")
    assert not handler.buffer
    assert transformers.utils.logging.is_progress_bar_enabled() == bars
    assert transformers.utils.logging.get_verbosity() == transformers.logging.WARNING


def test_older_names_of_normalised_weights_and_half_precision(make, copy):
    folder, expected = copy("wavlm"), load("audio", make("wavlm")[0]).audio(sound(97))
    weights = load_file(folder / "model.safetensors")
    older = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value.half()
        for name, value in weights.items()
    }
    assert set(older) - set(weights)
    save_file(older, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", **config | {"dtype": "float16", "attn_implementation": "some/kernel"})
    features = load("audio", folder).audio(sound(97))
    assert features.dtype == np.float32
    assert np.allclose(features, expected, atol=0.05)
    assert not np.array_equal(features, expected)


def shard(folder: Path, names: tuple[str, str] = ("model-1.safetensors", "model-2.safetensors")) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    of = {name: names[i % 2] for i, name in enumerate(weights)}
    for file in names:
        save_file({name: value for name, value in weights.items() if of[name] == file}, folder / file)
    write_json(folder / "model.safetensors.index.json", metadata={}, weight_map=of)


def test_shards(make, copy):
    folder = copy("vit")
    shard(folder)
    expected = load("video", make("vit")[0]).images(pictures(3))
    assert np.array_equal(load("video", folder).images(pictures(3)), expected)
    (folder / "model-2.safetensors").unlink()
    refused("video", folder, "must hold model-2.safetensors, but it is missing")


@pytest.mark.parametrize("name", ["model-2.bin", "../model-2.safetensors"])
def test_shards_are_safetensors_of_the_folder(copy, name):
    folder = copy("vit")
    shard(folder, ("model-1.safetensors", name))
    refused("video", folder, r"must be .safetensors in this folder, but one is '.*model-2")


@pytest.mark.parametrize(
    ("name", "of", "lost"),
    [
        ("wav2vec2", "audio", "encoder.layers.1.attention.k_proj.bias"),
        ("wav2vec2", "audio", "encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
        ("bert", "text", "embeddings.token_type_embeddings.weight"),
        ("vit", "video", "embeddings.cls_token"),
    ],
)
def test_a_weight_is_missing(copy, name, of, lost):
    folder = copy(name)
    weights = load_file(folder / "model.safetensors")
    del weights[lost]
    save_file(weights, folder / "model.safetensors")
    refused(of, folder, f"must hold the encoder's weights, but {lost} is missing")


@pytest.mark.parametrize(
    ("name", "of", "spare"), [("wav2vec2", "audio", "masked_spec_embed"), ("vit", "video", "pooler.dense.weight")]
)
def test_a_weight_that_no_hidden_state_depends_on_may_be_missing(make, copy, name, of, spare):
    folder = copy(name)
    weights = load_file(folder / "model.safetensors")
    del weights[spare]
    save_file(weights, folder / "model.safetensors")
    call = {"audio": lambda encoder: encoder.audio(sound(97)), "video": lambda encoder: encoder.images(pictures(2))}[of]
    assert np.array_equal(call(load(of, folder)), call(load(of, make(name)[0])))


def test_a_weight_has_another_shape(copy):
    folder = copy("bert")
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", **config | {"vocab_size": 19})
    refused("text", folder, r"embeddings.word_embeddings.weight must have the shape \[19, 14\], .* has \[13, 14\]")


def test_pickles_are_not_loaded(copy):
    folder = copy("bert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused("text", folder, r"must hold model.safetensors, but it is missing; .bin files are pickles, which are never")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_a_folder_does_not_run(copy, name):
    folder = copy("bert")
    document = json.loads((folder / name).read_text())
    write_json(folder / name, **document | {"auto_map": {"AutoModel": "code.Model", "AutoTokenizer": "code.T"}})
    (folder / "code.py").write_text("raise SystemExit('ran')")
    refused("text", folder, f"{name}: must not have auto_map")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "config.json: must be a file of the model's folder, but cannot be read"),
        ("config.json", b"{", "config.json: must be JSON, but is not"),
        ("config.json", b"\xff", "config.json: must be JSON, but is not"),
        ("config.json", b"[1]", r"config.json: must be a JSON object, but is \[1\]"),
        ("config.json", b'{"model_type": "none"}', "must be a model that transformers can read, but is not"),
        ("model.safetensors", b"", "must hold model.safetensors, but it is empty"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        ("model.safetensors", b"x" * 2000, "must be a model that transformers can read, but is not"),
        ("tokenizer.json", None, "tokenizer.json: must be a file of the model's folder, but cannot be read"),
        ("tokenizer.json", b'{"model": 7}', "must have a tokenizer that transformers can read"),
    ],
)
def test_damaged_folders(copy, file, content, message):
    folder = copy("bert")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    refused("text", folder, message)


@pytest.mark.parametrize(
    ("name", "of", "changes", "message"),
    [
        ("wav2vec2", "audio", {"sampling_rate": 8000}, "m.features.rate must be 8000, .* but is 16000"),
        ("wav2vec2", "audio", {"do_normalize": "no"}, "do_normalize must be true or false, but is 'no'"),
        ("vit", "video", {"resample": [1]}, r"resample must be 2 \(bilinear\) or 3 \(bicubic\), but is \[1\]"),
        ("vit", "video", {"image_mean": [0.5, "a", 1]}, "image_mean must be three numbers"),
        ("vit", "video", {"image_std": [0.5, 0, 1]}, "image_std must be above 0"),
    ],
)
def test_bad_preparation(copy, name, of, changes, message):
    folder = copy(name)
    document = json.loads((folder / "preprocessor_config.json").read_text())
    write_json(folder / "preprocessor_config.json", **document | changes)
    refused(of, folder, message)
    (folder / "preprocessor_config.json").unlink()
    refused(of, folder, "preprocessor_config.json: must be a file of the model's folder")


def test_encoders_of_another_medium(make, tmp_path):
    refused("audio", make("bert")[0], "of audio, the model must be an encoder that reads input_values, but bert reads")
    refused("video", make("wav2vec2")[0], "reads pixel_values, but wav2vec2 reads input_values")
    config = transformers.T5Config(d_model=F, d_kv=7, d_ff=17, num_layers=1, num_heads=2, vocab_size=13)
    transformers.T5Model(config).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    refused("text", tmp_path, "must be an encoder that reads input_ids, but t5 also decodes")


@pytest.mark.parametrize(
    ("of", "name", "sizes", "message"),
    [
        (
            "audio",
            "whisper",
            {"encoder_attention_heads": 2, "decoder_attention_heads": 2},
            "must be an encoder that reads input_values, but whisper reads input_features",
        ),
        ("audio", "audio-spectrogram-transformer", {}, "must read samples by convolutions"),
        ("audio", "sew", SOUND, "must have positions of one length in all layers, but sew changes it"),
        ("audio", "wav2vec2", SOUND | {"add_adapter": True}, "must have positions of one length in all layers"),
        ("video", "siglip_vision_model", PICTURE, "must have a class token and square images, as ViT, but siglip"),
        ("video", "t5", {}, "must be an encoder that reads pixel_values, but t5 reads input_ids"),
        ("video", "no-such-model", {}, "m.features.architecture must be a model_type of transformers"),
    ],
)
def test_architectures_that_are_none_of_these(monkeypatch, of, name, sizes, message):
    small = BODY | {"d_model": F, "encoder_layers": 1, "decoder_layers": 1, "d_ff": 7, "num_layers": 1} | sizes
    shrink(monkeypatch, small)
    refused(of, "random", message, architecture=name)


def shrink(monkeypatch, sizes: dict) -> None:
    """Make default sizes small."""
    for_model = transformers.AutoConfig.for_model
    monkeypatch.setattr(transformers.AutoConfig, "for_model", lambda name: for_model(name, **sizes))


@pytest.mark.parametrize("name", ["vit", "clip"])
def test_random_weights(monkeypatch, name):
    shrink(monkeypatch, PICTURE if name == "vit" else {"text_config": TEXT, "vision_config": PICTURE})
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    first = load("video", "random", architecture=name)
    assert torch.equal(torch.rand(5), expected)
    second = load("video", "random", architecture=name)
    assert (first.real, first.size) == (False, F)
    assert np.array_equal(first.images(pictures(3)), second.images(pictures(3)))
    assert first.images(pictures(3)).std() > 0


def test_random_weights_of_audio_are_standardised(monkeypatch):
    shrink(monkeypatch, SOUND)
    encoder = load("audio", "random", architecture="hubert")
    assert np.allclose(encoder.audio(sound(97)), encoder.audio(5 * sound(97) + 3), atol=1e-3)


def test_random_weights_leave_loading_as_it_is(make):
    before = torch.get_rng_state()
    threads = torch.get_num_threads()
    load("text", make("bert", transformers.AutoModelForMaskedLM)[0]).text("so it")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("of", "weights", "settings", "message"),
    [
        ("text", "random", {"architecture": "bert"}, "m.features.weights must not be random for text"),
        ("audio", "random", {}, "m.features.architecture must be set with `weights: random`"),
        ("audio", "somewhere", {"architecture": "hubert"}, "m.features.architecture must be null unless"),
        ("audio", None, {}, "m.features.weights must be the folder .* null: `hf download NAME --local-dir FOLDER`"),
        (
            "video",
            "somewhere",
            {},
            "somewhere: modalities.m.features.weights .* does not exist: .* openai/clip-vit-base-patch32",
        ),
        ("text", "somewhere", {"pool": 20}, "m.features.pool must be none or utterance for text"),
    ],
)
def test_settings_that_cannot_be(of, weights, settings, message):
    refused(of, weights, message, **settings)


def test_no_cuda(make, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = extractors.Pretrained(extractor="pretrained", of="text", weights=str(make("bert")[0]), device="cuda")
    with pytest.raises(UserError, match=r"m.features.device is cuda, but torch finds no CUDA device"):
        Pretrained(settings, "m")


def test_transformers_is_not_installed(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused("text", make("bert")[0], r"modalities.m.features: pretrained encoders need transformers: `make pretrained`")


@pytest.fixture(scope="module")
def pooling(make):
    """Pool `values` as a setting says."""
    folder = make("vit")[0]
    return lambda pool, values, seconds: load("video", folder, pool=pool).pool(values, seconds)


def test_pool(pooling):
    values = np.array([[1, 10], [2, 20], [6, 60], [7, 50], [9, 10]], np.float32)
    assert np.array_equal(pooling("none", values, 1.0), values)
    assert np.array_equal(pooling("utterance", values, 1.0), [[5, 30]])
    # the middles of five parts of a second: 100, 300, 500, 700, 900 ms
    assert np.array_equal(pooling(400, values, 1.0), [[1.5, 15], [6.5, 55], [9, 10]])
    assert np.array_equal(pooling(300, values, 1.0), [[1, 10], [4, 40], [7, 50], [9, 10]])  # 300 begins a window
    assert np.array_equal(pooling(100, values, 1.0), values)  # every other window is empty
    assert np.array_equal(pooling(2000, values, 1.0), [[5, 30]])
    assert np.array_equal(pooling(400, values, 4.0), values)
    assert pooling(400, values, 1.0).dtype == pooling("utterance", values, 1.0).dtype == np.float32


@pytest.mark.parametrize("pool", ["none", "utterance", 20])
def test_pool_of_no_positions(pooling, pool):
    assert pooling(pool, np.empty((0, 3), np.float32), 0.01).shape == (0, 3)
