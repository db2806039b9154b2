"""Words of transcripts as ids, with GloVe's word vectors (Pennington, Socher and Manning, EMNLP 2014).

As in the paper, words are lower-cased before they are looked up, though glove.840B.300d has words in both cases, and a
word that it lacks gets numbers drawn from uniform(-.25, .25). Unlike there, Punkt finds the sentences without its model
of English, which would be a download: it knows no abbreviations, so `Mr. Hill` is the three words `mr`, `.`, `hill`.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np
from nltk.tokenize import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktSentenceTokenizer

from stages.common import progress
from stages.common.arrays import to_float32
from stages.common.errors import UserError, short
from stages.common.extractors import RANDOM, Glove
from stages.corpus.contents import unusable
from stages.features.writer import Writer

MOST_CHARACTERS = 100_000
"""Characters of a transcript that are read, hours of speech: the time for one is bounded, whatever it holds."""
RANDOM_DIMENSIONS = 300
"""Numbers of a word's vector with `weights: random`: those of glove.840B.300d."""

_LONGEST_LINE = 1 << 18  # bytes; a line of glove.840B.300d has about 2,600
_SAMPLE = 20  # lines that tell how many numbers a vector has
_SENTENCES = PunktSentenceTokenizer()
_WORDS = NLTKWordTokenizer()


def tokenise(text: str) -> list[str]:
    """The words of a transcript in lower case, as nltk's `word_tokenize`: Punkt's sentences, then Treebank's words.

    A full stop is a word of its own at a sentence's end only. Brackets are words too: `[LAUGHTER]` gives three. No more
    than `MOST_CHARACTERS` are read.
    """
    sentences = _SENTENCES.tokenize(text[:MOST_CHARACTERS])
    return [word.lower() for sentence in sentences for word in _WORDS.tokenize(sentence)]


def draw(word: str, *, seed: int, dimensions: int) -> np.ndarray:
    """A vector from uniform(-.25, .25), float32 [dimensions], that depends on the word and the seed alone."""
    digest = np.frombuffer(hashlib.sha256(_encoded(word)).digest(), "<u4")
    return np.random.default_rng([seed, *digest.tolist()]).uniform(-0.25, 0.25, dimensions).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class VectorFile:
    """A text file of word vectors: on each line a word and its numbers, with a space between."""

    path: Path
    dimensions: int
    """Numbers of each word."""
    header: bool
    """Whether its first line is that of word2vec and fastText: how many words, and how many numbers each."""

    def read(self, words: Iterable[str]) -> dict[str, np.ndarray]:
        """Word → float32 [dimensions], of those of `words` that are in the file; the first of a word's lines counts.

        `words` hold no spaces. The file is read once; memory is that of the vectors found.

        Raises
        ------
        UserError
            If a line is too long, or does not give one of the words so many finite numbers; names the line.
        """
        needed = {_encoded(word): word for word in words}
        found = {}
        size = self.path.stat().st_size
        with progress.line(self.path.name, "bytes", total=size, scale=True) as shown:
            for number, line in _lines(self.path):
                if not needed:
                    break
                shown.update(len(line))
                key = line[: line.find(b" ")]  # before all else: nearly no line is of a word that is needed
                if key not in needed or (self.header and number == 1):
                    continue
                # From the right, and at spaces only: some of GloVe's words hold spaces (`. . .`) or other blanks.
                token, *numbers = _stripped(line).rsplit(b" ", self.dimensions)
                if token == key:
                    word = needed.pop(key)
                    found[word] = self._vector(numbers, f"{self.path}: line {number}: {short(word)}")
        return found

    def _vector(self, numbers: list[bytes], place: str) -> np.ndarray:
        if len(numbers) != self.dimensions:
            raise UserError(f"{place} must have {self.dimensions} numbers, but has {len(numbers)}")
        wrong = next((field for field in numbers if not _is_number(field)), None)
        if wrong is not None:
            raise UserError(f"{place} must have {self.dimensions} numbers, but one is {_quoted(wrong)}")
        vector, misfit = to_float32(np.array([float(field) for field in numbers]))
        if misfit:
            raise UserError(f"{place}: numbers must {misfit.rule}, but number {misfit.position + 1} is {misfit.value}")
        return vector


def open_vectors(path: Path) -> VectorFile:
    """Find out from its first lines how a file of word vectors is laid out.

    Most of them decide, since a word may hold spaces and look like a number.

    Raises
    ------
    UserError
        If it is no text file of words with two numbers or more.
    """
    first = [_stripped(line) for _, line in islice(_lines(path), _SAMPLE)]
    titles = first[0].split(b" ") if first else []
    maybe_header = len(first) > 1 and len(titles) == 2 and all(title.isdigit() for title in titles)
    votes = Counter(_trailing_numbers(line) for line in first[maybe_header:])
    dimensions = min(votes, key=lambda size: (-votes[size], size), default=0)
    if dimensions < 2:
        raise UserError(
            f"{path}: must be a text file of word vectors such as glove.840B.300d.txt (on each line a word and its "
            "numbers, with a space between; a .zip or .gz must be unpacked first), but its first line is "
            f"{_quoted(first[0]) if first else 'missing'}"
        )
    header = maybe_header and titles[1] == str(dimensions).encode()
    return VectorFile(path=path, dimensions=dimensions, header=header)


def write(
    settings: Glove, transcripts: Iterable[tuple[str, str]], folder: Path, *, modality: str, made: Mapping
) -> None:
    """Write a modality of tokens, and print how many words have no vector.

    Ids are 0 for padding, then the words of all transcripts in the order in which they first appear, those that
    `settings.longest` cuts off included.

    `transcripts`: utterance_id and text, in the corpus's order; an empty text is a sequence of length 0. `modality`:
    its name in params, for messages. `made`: what the caller adds to the account of how the features were made.

    Raises
    ------
    UserError
        If `settings.weights` is no file of word vectors or lacks all the words, or an utterance_id is bad.
    """
    path = _weights_path(settings.weights, modality)
    vectors = open_vectors(path) if path else None
    writer = Writer(folder, "tokens")
    counts = _add_tokens(writer, transcripts, settings.longest)
    found = vectors.read(counts) if vectors else {}
    if vectors and counts and not found:
        raise UserError(f"{path}: must have vectors of the corpus's words, but has none of the {len(counts)}")
    missing = [word for word in counts if word not in found]
    _report(settings, modality, counts, missing)
    dimensions = vectors.dimensions if vectors else RANDOM_DIMENSIONS
    account = {
        "weights": path.name if path else RANDOM,
        "dimensions": dimensions,
        "words": len(counts),
        "words_missing": len(missing),
        "real": path is not None,
    }
    writer.close(
        longest=None,
        embedding=_embedding(settings, counts, found, dimensions),
        made={**made, **settings.model_dump(), **account},
    )


def vocabulary(transcripts: Iterable[str]) -> dict[str, int]:
    """Word → id, as `write` counts the words of these transcripts, in their order."""
    words = dict.fromkeys(word for text in transcripts for word in tokenise(text))
    return {word: number for number, word in enumerate(words, start=1)}


def vectors(settings: Glove, words: list[str], dimensions: int, *, modality: str) -> np.ndarray:
    """The vectors [words, dimensions] that `write` gives to words, float32.

    Raises
    ------
    UserError
        If `settings.weights` is no file of word vectors, or of another size.
    """
    path, found = _weights_path(settings.weights, modality), {}
    if path:
        file = open_vectors(path)
        if file.dimensions != dimensions:
            raise UserError(f"{path}: vectors must have {dimensions} numbers, but have {file.dimensions}")
        found = file.read(words)
    return _embedding(settings, words, found, dimensions)[1:]


def _weights_path(weights: str | None, modality: str) -> Path | None:
    """The file of word vectors; None: random ones are asked for."""
    if weights == RANDOM:
        return None
    problem = "it is null" if weights is None else unusable(Path(weights))
    if problem is None:
        return Path(weights)
    raise UserError(
        f"modalities.{modality}.features.weights must be the path of glove.840B.300d.txt, but "
        f"{problem if weights is None else f'{short(weights)} {problem}'}; nlp.stanford.edu/projects/glove has it as "
        "glove.840B.300d.zip (2.0 GB, unpacks to 5.6 GB, licence PDDL 1.0); `weights: random` is for trying things out"
    )


def _add_tokens(writer: Writer, transcripts: Iterable[tuple[str, str]], longest: int | None) -> Counter[str]:
    """Write the ids of each transcript's first `longest` words; return how often each word is there in all.

    The words' order is that of their ids, which begin with 1.
    """
    counts, ids, cut = Counter(), {}, 0
    for name, text in transcripts:
        words = tokenise(text)
        counts.update(words)
        cut += len(text) > MOST_CHARACTERS
        tokens = [ids.setdefault(word, len(ids) + 1) for word in words]
        writer.add(name, np.array(tokens[:longest], np.int32))
    if cut:
        print(f"warning: of {cut} transcripts only the first {MOST_CHARACTERS:,} characters are read", file=sys.stderr)
    return counts


def _embedding(settings: Glove, words: Iterable[str], found: Mapping[str, np.ndarray], dimensions: int) -> np.ndarray:
    """Word vectors, float32 [words + 1, dimensions]; row 0, of padding, is zeros."""
    rows = [np.zeros(dimensions, np.float32)]
    for word in words:
        if word in found:
            rows.append(found[word])
        elif settings.unknown == "uniform" or settings.weights == RANDOM:
            rows.append(draw(word, seed=settings.seed, dimensions=dimensions))
        else:
            rows.append(rows[0])
    return np.stack(rows)


def _report(settings: Glove, modality: str, counts: Counter[str], missing: list[str]) -> None:
    if settings.weights == RANDOM:
        print(f"{modality}: all {len(counts):,} words have random vectors; results are not real")
        return
    times = sum(counts[word] for word in missing)
    print(
        f"{modality}: {len(missing):,} of {len(counts):,} distinct words ({times:,} of {counts.total():,} in all) "
        f"have no vector in {Path(settings.weights).name}; theirs are "
        f"{'drawn from uniform(-.25, .25)' if settings.unknown == 'uniform' else 'zeros'}"
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and bytes of each line."""
    with path.open("rb", buffering=1 << 20) as file:
        for number in count(1):
            line = file.readline(_LONGEST_LINE)
            if not line:
                return
            if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
                raise UserError(
                    f"{path}: line {number}: must be a word and its numbers, but is longer than {_LONGEST_LINE:,} bytes"
                )
            yield number, line


def _trailing_numbers(line: bytes) -> int:
    """How many numbers end a line, whose first field is a word whatever it looks like."""
    fields = line.split(b" ")[1:]
    return next((n for n, field in enumerate(reversed(fields)) if not _is_number(field)), len(fields))


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _stripped(line: bytes) -> bytes:
    """A line without its end, before which fastText writes a space."""
    return line.rstrip(b" \r\n")


def _encoded(word: str) -> bytes:
    return word.encode("utf-8", "surrogatepass")


def _quoted(text: bytes) -> str:
    return short(text[:60].decode("utf-8", "replace"))
