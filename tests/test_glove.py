"""Words of transcripts and their vectors, against hand-written words and a plain reading of small files."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.common.errors import UserError
from stages.common.extractors import Glove
from stages.features import glove

# A file of three numbers a word with what real ones hold: words with spaces, with other blanks, twice, that look like
# numbers, CRLF, a space before the line's end, and no end of the last line.
WARTS = (
    ", .5 -.25 1e-3\n"
    "yeah 1 2 3\n"
    ". . . 4 5 6\n"
    "yeah 7 7 7\n"
    ". 8 9 10\r\n"
    "no\u00a0way 1 1 1\n"
    "no\u0085 1 1 1\n"
    "no yes@example.org 1 1 1\n"
    "no 11 12 13 \n"
    ". . 5 1 1 1\n"
    "Laughter 1 1 1\n"
    "7 14 15 16\n"
    "laughter 17 18 19"
).encode()
VECTORS = {
    ",": [0.5, -0.25, 1e-3],
    "yeah": [1, 2, 3],
    ".": [8, 9, 10],
    "no": [11, 12, 13],
    "7": [14, 15, 16],
    "laughter": [17, 18, 19],
}
TRANSCRIPTS = [("b", "Yeah. No, blorp."), ("a", ""), ("c", "[LAUGHTER] No 7 blorp wibble")]
WORDS = ["yeah", ".", "no", ",", "blorp", "[", "laughter", "]", "7", "wibble"]  # by hand, as they first appear


def settings_of(path, **changes) -> Glove:
    return Glove(extractor="glove", weights=path and str(path), **changes)


def made_of(tmp_path, transcripts=TRANSCRIPTS, content=WARTS, weights=None, **changes):
    """What `write` makes: tokens, lengths, embedding and meta."""
    if weights is None:
        weights = tmp_path / "small.txt"
        weights.write_bytes(content)
    out = tmp_path / "out"
    glove.write(settings_of(weights, **changes), transcripts, out, modality="text", made={"source": "test"})
    arrays = [np.load(out / f"{name}.npy") for name in ("tokens", "lengths", "embedding")]
    return *arrays, json.loads((out / "meta.json").read_text())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        (" \n ", ""),
        ("Yeah. I know.", "yeah . i know ."),
        ("I don't know.", "i do n't know ."),
        ("It's Bob's; we're gonna go!", "it 's bob 's ; we 're gon na go !"),
        ("[LAUGHTER] Cannot, you?", "[ laughter ] can not , you ?"),
        ("Well... so -- no--yes", "well ... so -- no -- yes"),
        ('He said, "Go." And?', "he said , `` go . '' and ?"),
        ("$3.50 at 10:30, 1,000 miles", "$ 3.50 at 10:30 , 1,000 miles"),
        ("It’s “fine”. Ok", "it ’ s “ fine ” . ok"),
        ("Mr. Hill left", "mr . hill left"),  # Punkt without a model of English knows no abbreviations
    ],
)
def test_words_of_a_transcript(text, words):
    assert glove.tokenise(text) == words.split()


def test_nothing_is_read_from_the_disk_or_the_net_for_words():
    code = (
        "import sys\nseen = []\n"
        "sys.addaudithook(lambda event, args: seen.append((event, str(args))))\n"
        "from stages.features.glove import tokenise\n"
        "before = len(seen)\n"
        "tokenise('Yeah. I am [LAUGHTER] fine... Mr. X said: \"no!\"')\n"
        "print([e for e in seen[before:] if e[0] in ('open', 'os.listdir', 'os.scandir')],\n"
        "      [e for e in seen if 'nltk_data' in e[1] and e[0] in ('open', 'os.listdir', 'os.scandir')],\n"
        "      [e for e in seen if e[0].startswith(('socket.connect', 'urllib'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]", "[]"]


@pytest.mark.parametrize("unit", [". ", "[", '"', "a.", "!\n", ".)"])
def test_a_transcript_is_read_to_a_bound(unit, monkeypatch):
    monkeypatch.setattr(glove, "MOST_CHARACTERS", 1000)
    assert glove.tokenise(unit * 500_000) == glove.tokenise((unit * 1000)[:1000])


def test_ids_and_vectors(tmp_path, capsys):
    tokens, lengths, embedding, meta = made_of(tmp_path)
    assert lengths.tolist() == [6, 0, 7]
    assert tokens.tolist() == [1, 2, 3, 4, 5, 2, 6, 7, 8, 3, 9, 5, 10]
    assert embedding.shape == (11, 3)
    assert embedding.dtype == np.float32
    assert not embedding[0].any()
    for row, word in enumerate(WORDS, 1):
        expected = VECTORS[word] if word in VECTORS else glove.draw(word, seed=1, dimensions=3)
        np.testing.assert_array_equal(embedding[row], np.float32(expected), err_msg=word)
    assert meta["longest"] == 7
    made = meta["made"]
    assert made == {
        "source": "test",
        "extractor": "glove",
        "weights": "small.txt",
        "unknown": "uniform",
        "seed": 1,
        "longest": 128,
        "dimensions": 3,
        "words": 10,
        "words_missing": 4,
        "real": True,
    }
    printed = capsys.readouterr().out
    assert "4 of 10 distinct words (5 of 13 in all)" in printed  # blorp twice
    assert "uniform" in printed


def test_words_that_are_cut_off_have_ids_too(tmp_path):
    tokens, lengths, embedding, meta = made_of(tmp_path, longest=2)
    assert tokens.tolist() == [1, 2, 6, 7]
    assert lengths.tolist() == [2, 0, 2]
    assert len(embedding) == 11
    assert meta["longest"] == 2


def test_without_a_bound_the_longest_counts(tmp_path):
    assert made_of(tmp_path, longest=None)[3]["longest"] == 7


def test_unknown_words_may_be_zeros(tmp_path, capsys):
    embedding = made_of(tmp_path, unknown="zeros")[2]
    assert [not row.any() for row in embedding[1:]] == [word not in VECTORS for word in WORDS]
    assert "zeros" in capsys.readouterr().out


def test_random_weights_are_marked(tmp_path, capsys):
    _, _, embedding, meta = made_of(tmp_path, weights="random", seed=7, unknown="zeros")
    assert embedding.shape == (11, 300)
    assert not embedding[0].any()
    np.testing.assert_array_equal(embedding[5], glove.draw("blorp", seed=7, dimensions=300))
    assert meta["made"]["real"] is False
    assert meta["made"]["weights"] == "random"
    assert "not real" in capsys.readouterr().out


def test_a_drawn_vector_depends_on_word_and_seed_alone(tmp_path):
    alone = made_of(tmp_path / "alone", [("a", "No wibble")], content=WARTS, weights=_file(tmp_path, WARTS))[2]
    among = made_of(tmp_path / "among", TRANSCRIPTS, weights=_file(tmp_path, WARTS))[2]
    np.testing.assert_array_equal(alone[2], among[10])
    assert (glove.draw("wibble", seed=1, dimensions=3) != glove.draw("wibble", seed=2, dimensions=3)).all()
    assert (glove.draw("wibble", seed=1, dimensions=3) != glove.draw("wibbles", seed=1, dimensions=3)).all()


def test_drawn_vectors_are_uniform():
    words = [f"word{n}" for n in range(211)]
    values = np.stack([glove.draw(word, seed=3, dimensions=101) for word in words])
    assert np.abs(values).max() <= 0.25
    assert abs(values.mean()) < 0.005  # 5 standard errors: .5 / √12 / √21,311 × 5
    np.testing.assert_allclose(np.quantile(values, [0.25, 0.75]), [-0.125, 0.125], atol=0.01)


def test_a_drawn_vector_by_its_definition():
    digest = hashlib.sha256("naïve".encode()).digest()
    numbers = [int.from_bytes(digest[at : at + 4], "little") for at in range(0, 32, 4)]
    expected = np.float32(np.random.default_rng([5, *numbers]).random(7) / 2 - 0.25)
    np.testing.assert_allclose(glove.draw("naïve", seed=5, dimensions=7), expected, atol=1e-7)


def test_a_header_is_no_word(tmp_path):
    path = _file(tmp_path, b"2 3\n2 1 2 3\nno 4 5 6 \n")
    file = glove.open_vectors(path)
    assert (file.dimensions, file.header) == (3, True)
    assert {word: vector.tolist() for word, vector in file.read(["2", "no"]).items()} == {
        "2": [1, 2, 3],
        "no": [4, 5, 6],
    }
    file = glove.open_vectors(_file(tmp_path, b"1 3\nno 4 5 6\n"))
    assert (file.dimensions, file.header) == (3, True)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"no 1 2\n", "line 4: 'no' must have 3 numbers, but has 2"),
        (b"no\n", "line 4: 'no' must have 3 numbers, but has 0"),
        (b"no 1 x 3\n", "line 4: 'no' must have 3 numbers, but one is 'x'"),
        (b"no 1  3\n", "line 4: 'no' must have 3 numbers, but one is ''"),
        (b"no 1 2 nan\n", "line 4: 'no': numbers must be finite, but number 3 is nan"),
        (b"no 1 1e39 3\n", "line 4: 'no': numbers must fit into float32"),
        (b"x" * (1 << 18) + b" 1 2 3\n", "line 4: must be a word and its numbers, but is longer than"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, rule):
    path = _file(tmp_path, b"a 1 2 3\nb 1 2 3\nc 1 2 3\n" + line)
    with pytest.raises(UserError) as error:
        glove.open_vectors(path).read(["no"])
    assert str(error.value).startswith(f"{path}: {rule}")


def test_a_bad_line_of_another_word_is_passed_over(tmp_path):
    path = _file(tmp_path, b"a 1 2 3\nb 1 2 3\nc 1 x 3\nd 1\n\n 1 2 3\nno 4 5 6\n")
    assert glove.open_vectors(path).read(["no"])["no"].tolist() == [4, 5, 6]


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04\x14\x00\x00\x00\x08\x00" + zlib.compress(WARTS),
        gzip.compress(WARTS),
        b"3000000 300\n</s> " + bytes(range(256)),  # word2vec's binary format
        b"the,0.1,0.2\nof,0.3,0.4\n",
        b"the 5000\nof 4000\n",  # a list of frequencies
        b"2 3\n",
        b"A plain text\nof 2 lines\n",
        b"\n\n",
    ],
)
def test_what_is_no_file_of_vectors(tmp_path, content):
    with pytest.raises(UserError, match=r"must be a text file of word vectors such as glove\.840B\.300d\.txt"):
        made_of(tmp_path, content=content)


def test_a_file_without_any_of_the_words(tmp_path):
    with pytest.raises(UserError, match="has none of the 10"):
        made_of(tmp_path, content=b"foo 1 2 3\nbar 1 2 3\n")
    assert made_of(tmp_path / "silent", [("a", "")], weights=_file(tmp_path, WARTS))[2].shape == (1, 3)


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        (None, "it is null"),
        ("nowhere.txt", "is missing"),
        ("folder", "is no file"),
        ("fifo", "is no file"),
        ("/dev/zero", "is no file"),
        ("empty", "is empty"),
    ],
)
def test_weights_that_are_no_file(tmp_path, monkeypatch, what, problem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo("fifo")
    (tmp_path / "empty").touch()
    with pytest.raises(UserError) as error:
        glove.write(settings_of(what), TRANSCRIPTS, tmp_path / "out", modality="words", made={})
    message = str(error.value)
    assert message.startswith("modalities.words.features.weights must be the path of glove.840B.300d.txt, but ")
    for part in (problem, "nlp.stanford.edu/projects/glove", "glove.840B.300d.zip", "5.6 GB", "PDDL 1.0", "random"):
        assert part in message


FIELDS = st.sampled_from(["a", ".", "no", "1", "-.5", "nan", "1e400", "", "\u00a0", "\x85", "\x00", "\u2028", "3"])
TEXT_FILES = st.lists(st.lists(FIELDS, max_size=6).map(" ".join), max_size=9).map("\n".join).map(str.encode)


@settings(max_examples=100)
@given(content=st.binary(max_size=99) | TEXT_FILES)
@example(content=b"9" * 5000 + b" " + b"9" * 5000 + b"\na 1 2\n")
def test_any_bytes_are_vectors_or_an_error(content, tmp_path_factory):
    path = _file(tmp_path_factory.mktemp("fuzz"), content)
    try:
        file = glove.open_vectors(path)
        vectors = file.read(["a", ".", "no", "1"])
    except UserError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
    else:
        assert all(vector.shape == (file.dimensions,) and np.isfinite(vector).all() for vector in vectors.values())


WORD = st.text("aé.\u00a0\x85'", min_size=1, max_size=3)
PLAIN = st.dictionaries(WORD, st.lists(st.floats(-9, 9, width=32), min_size=5, max_size=5), min_size=1, max_size=9)


@settings(max_examples=50)
@given(table=PLAIN, others=st.sets(WORD))
def test_as_a_plain_reading(table, others, tmp_path_factory):
    lines = [" ".join([word, *map(repr, vector)]) for word, vector in table.items()]
    path = _file(tmp_path_factory.mktemp("plain"), "\n".join(lines).encode())
    wanted = {*list(table)[::2], *others}
    found = glove.open_vectors(path).read(wanted)
    assert {word: vector.tolist() for word, vector in found.items()} == {w: table[w] for w in wanted if w in table}


def test_memory_does_not_grow_with_the_file(tmp_path):
    numbers = " ".join(["0.12345"] * 50)
    path = _file(tmp_path, "".join(f"other{n} {numbers}\n" for n in range(20_000)).encode() + b"no" + b" 1" * 50)
    assert path.stat().st_size > 8_000_000
    tracemalloc.start()
    try:
        assert list(glove.open_vectors(path).read(["no", "never"])) == ["no"]
        assert tracemalloc.get_traced_memory()[1] < 3_000_000  # of which 1 MiB is the file's buffer
    finally:
        tracemalloc.stop()


def test_the_same_bytes_again(tmp_path):
    weights = _file(tmp_path, WARTS)
    for name in ("one", "two"):
        made_of(tmp_path / name, weights=weights)
    names = sorted(path.name for path in (tmp_path / "one/out").iterdir())
    for name in names:
        assert (tmp_path / "one/out" / name).read_bytes() == (tmp_path / "two/out" / name).read_bytes()
    assert str(tmp_path) not in (tmp_path / "one/out/meta.json").read_text()


def _file(folder, content: bytes):
    path = folder / "small.txt"
    path.write_bytes(content)
    return path
