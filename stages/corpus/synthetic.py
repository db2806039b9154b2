"""The embedded corpus: small, generated, and about as hard as IEMOCAP.

An utterance of class c has one latent vector a modality, z_m = signal · s_m · prototype[c] + noise, with noise that is
independent between modalities, so that each one is a weak witness (text the best, audio the worst) and several are a
better one. Prototypes of angry and frustrated, and of happy and excited, are close. Frames are a linear picture of
z_m with noise that is correlated over time and an offset of the speaker; words are drawn from a distribution tilted
by z_text.

Two knobs:

`signal` scales all prototypes: at 0 no model can beat chance, at 8 nearly everything is told apart.

`interaction` moves class information from the single modalities into the relation between text and vision. It is the
probability that a word is *relational*, and what is left of the plain signal shrinks to 1 - interaction. Every word
belongs to one of `KEYS` groups, and the relational words of an utterance name a different class in each group, the
groups in turn so that short utterances have some of several; only the class in the group that the video shows (a
constant cue in its frames) is the utterance's own. At 1 the video alone says nothing of the class and the text alone
leaves `KEYS` candidates: a model has to look up, in the text, what the video asks for, which is what cross-attention
with a video query does. At 0 no modality says anything of how to read another, and cross-attention has no reason to
win. Audio has no part in it.

Values of valence, activation and dominance lie around the place of the utterance's class (`PLACES`), so that what tells
classes apart tells these too.

A class has words of its own in each group, and word vectors and cues are large (`GROUP`, `OWN`, `CUE`): attention of
freshly initialised models is nearly uniform, and what it looks at can only be learnt from a few hundred utterances
where scores differ from the start. `python -m benchmarks.embedded_truth` shows what is true of the embedded corpus.
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from stages.common.corpus import DIMENSIONS, Meta
from stages.common.params import Corpus, Synthetic
from stages.corpus.contents import Contents
from stages.corpus.iemocap import CLASS_COUNTS

CLASSES = list(CLASS_COUNTS)
MODALITIES = ("audio", "video", "text")
PLACES = {
    "angry": (1.9, 3.7, 4.0),
    "excited": (4.1, 3.8, 3.5),
    "happy": (4.0, 3.0, 3.1),
    "sad": (2.2, 2.4, 2.6),
    "frustrated": (2.3, 3.1, 3.4),
    "surprise": (3.1, 3.8, 2.9),
    "neutral": (3.0, 2.6, 2.9),
}
"""Class → its valence, activation and dominance on a scale of 1 to 5, about where people place it."""
RATING_NOISE = 0.4  # standard deviation of a rating around its class's place
SESSIONS, DIALOGUES = 5, 6  # sessions; dialogues in each
RAREST = 12  # the fewest utterances a class may have
STRENGTH = {"text": 1.9, "video": 2.2, "audio": 1.7}
TILT = 2.0  # of the words' distribution by z_text
SCALE = 2.0  # of word vectors and video features, whose size standardisation does not set
SIMILAR = (("angry", "frustrated"), ("happy", "excited"))
SIMILARITY = 0.6  # cosine of two similar prototypes
KEYS = 3  # groups of words
GROUP, OWN = 4.0, 7.0  # sizes of what a word's vector shares with its group, and with its class within the group
CUE = 12.0  # size of the video's cue, in units of the frames' noise
SPEAKER, DIALOGUE = 0.3, 0.2  # standard deviations of offsets
FRAME_NOISE, MEMORY = 1.0, 0.5  # of a frame: standard deviation, correlation with the one before
WORD_NOISE = 0.3  # of a word vector's entries


def read(corpus: Corpus) -> Contents:
    """The corpus that `corpus.synthetic` describes."""
    config = corpus.synthetic
    utterances = [utterance for utterance, _ in Speech(config).utterances()]
    rated = ratings([own["label"] for own in utterances], corpus.scale, np.random.default_rng([config.seed, *b"rated"]))
    utterances = [own | dict(zip(DIMENSIONS, row, strict=True)) for own, row in zip(utterances, rated, strict=True)]
    dimensions = dict.fromkeys(DIMENSIONS, corpus.scale)
    meta = Meta(corpus="synthetic", classes=CLASSES, modalities=list(MODALITIES), dimensions=dimensions)
    note = f"{len(utterances)} utterances; {without_video(config)} without video were dropped"
    return Contents(meta=meta, utterances=utterances, notes=[note])


def ratings(labels: list[str], scale: list[float], rng: np.random.Generator) -> list[list[float]]:
    """[utterances, dimensions]: about the place of each label's class, by raters who differ, within the scale."""
    places = np.array([PLACES[label] for label in labels])
    rated = np.clip(places + RATING_NOISE * rng.standard_normal(places.shape), 1, 5)
    low, high = scale
    return (low + (high - low) * (np.round(2 * rated) / 2 - 1) / 4).tolist()  # two raters' mean


def class_counts(utterances: int) -> dict[str, int]:
    """IEMOCAP's proportions for about `utterances` utterances, no class under `RAREST`."""
    total = sum(CLASS_COUNTS.values())
    return {name: max(RAREST, round(utterances * count / total)) for name, count in CLASS_COUNTS.items()}


def without_video(config: Synthetic) -> int:
    """How many utterances without video there are, on top: one in a hundred."""
    return -(-config.utterances // 100)


def _utterances(config: Synthetic, rng: np.random.Generator) -> Iterator[tuple[dict[str, str], bool]]:
    """Utterances in the order of their dialogues, and whether each has video."""
    counts = class_counts(config.utterances)
    labels = np.repeat(list(counts), list(counts.values()))
    labels = np.concatenate([labels, rng.choice(labels, without_video(config))])
    has_video = np.arange(len(labels)) < sum(counts.values())
    # Dialogues have a tone: each class has its own distribution over them.
    tone = {name: rng.dirichlet(np.full(SESSIONS * DIALOGUES, 5.0)) for name in CLASSES}
    dialogue = np.array([rng.choice(SESSIONS * DIALOGUES, p=tone[name]) for name in labels])
    order = rng.permutation(len(labels))
    turns: Counter = Counter()
    for row in order[np.argsort(dialogue[order], kind="stable")]:
        turns[dialogue[row]] += 1
        session, number = divmod(int(dialogue[row]), DIALOGUES)
        speaker = f"ses{session + 1}{rng.choice(['F', 'M'])}"
        name = f"ses{session + 1}_dia{number + 1}"
        utterance = {
            "utterance_id": f"{name}_{turns[dialogue[row]]:03d}_{speaker[-1]}",
            "speaker": speaker,
            "session": f"ses{session + 1}",
            "dialogue": name,
            "label": str(labels[row]),
        }
        yield utterance, bool(has_video[row])


class Speech:
    """Draws the corpus, the same one from the same `config`; the mixing matrices, words and speakers are drawn once."""

    def __init__(self, config: Synthetic):
        self.config, self.rng = config, np.random.default_rng(config.seed)
        rng = self.rng
        classes, words = len(CLASSES), config.text.vocabulary
        self.prototypes = _prototypes()
        self.picture = {
            "audio": _picture(classes, config.audio.features, rng),
            "video": _picture(classes + KEYS, config.video.features, rng),
        }
        self.speakers: dict[tuple[str, str], np.ndarray] = {}
        self.dialogues: dict[tuple[str, str], np.ndarray] = {}
        self.word_class, self.word_key = np.arange(words) % classes, np.arange(words) // classes % KEYS
        own = np.eye(classes * KEYS)[self.word_class * KEYS + self.word_key]
        meaning = np.hstack([GROUP * np.eye(KEYS)[self.word_key], OWN * own])
        vectors = meaning @ _picture(meaning.shape[1], config.text.features, rng)
        vectors += WORD_NOISE * rng.standard_normal(vectors.shape)
        self.embedding = SCALE * np.vstack([np.zeros(config.text.features), vectors])  # row 0: padding

    def utterances(self) -> Iterator[tuple[dict[str, str], dict[str, np.ndarray]]]:
        """Names and sequences of each utterance; can be asked for once.

        Those without video are drawn too, but dropped, as in the paper.
        """
        for utterance, has_video in _utterances(self.config, self.rng):
            sequences = self._sequences(utterance)
            if has_video:
                yield utterance, sequences

    def _sequences(self, utterance: dict[str, str]) -> dict[str, np.ndarray]:
        """`audio` [frames, features], `video` [frames, features] and `text` [words] of one utterance."""
        label, key = CLASSES.index(utterance["label"]), int(self.rng.integers(KEYS))
        lengths = self._lengths()
        cue = CUE * self.config.interaction * np.eye(KEYS)[key]
        return {
            "audio": self._frames("audio", lengths["audio"], self._latent("audio", label, utterance), utterance),
            "video": self._frames(
                "video", lengths["video"], np.concatenate([self._latent("video", label, utterance), cue]), utterance
            ),
            "text": self._words(lengths["text"], label, key, self._latent("text", label, utterance)),
        }

    def _lengths(self) -> dict[str, int]:
        """Positions of each modality: log-normal around a third of the longest, cut at it."""
        duration = np.exp(self.rng.normal(np.log(1 / 3), 0.6))
        lengths = {}
        for name in MODALITIES:
            longest = getattr(self.config, name).longest
            own = duration * np.exp(self.rng.normal(0, 0.15))
            lengths[name] = int(np.clip(round(own * longest), 2, longest))
        return lengths

    def _latent(self, modality: str, label: int, utterance: dict[str, str]) -> np.ndarray:
        """z_m: [classes]."""
        strength = self.config.signal * STRENGTH[modality] * (1 - self.config.interaction)
        offset = self._offset(self.dialogues, (modality, utterance["dialogue"]), len(CLASSES), DIALOGUE)
        return strength * self.prototypes[label] + offset + self.rng.standard_normal(len(CLASSES))

    def _frames(self, modality: str, length: int, latent: np.ndarray, utterance: dict[str, str]) -> np.ndarray:
        """[length, features]: the latent vector's picture, the speaker's offset and correlated noise."""
        picture = self.picture[modality]
        offset = self._offset(self.speakers, (modality, utterance["speaker"]), picture.shape[1], SPEAKER)
        level = latent @ picture + offset
        noise = FRAME_NOISE * self.rng.standard_normal((length, picture.shape[1]))
        for t in range(1, length):
            noise[t] = MEMORY * noise[t - 1] + np.sqrt(1 - MEMORY**2) * noise[t]
        return (SCALE if modality == "video" else 1) * (level + noise)

    def _words(self, length: int, label: int, key: int, latent: np.ndarray) -> np.ndarray:
        """[length] word ids from 1: plain words tilted by the latent vector, relational ones of the groups in turn."""
        named = self.rng.integers(len(CLASSES), size=KEYS)
        named[key] = label
        plain = np.exp(TILT * latent[self.word_class])
        turn = (np.arange(length) + self.rng.integers(KEYS)) % (self.word_key.max() + 1)
        relational = np.exp(3 * self.config.signal * (self.word_class == named[self.word_key]))
        relational = np.where(self.word_key == turn[:, None], relational, 0.0)
        weights = np.where(self.rng.random((length, 1)) < self.config.interaction, relational, plain)
        cumulative = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
        draws = (self.rng.random((length, 1)) > cumulative).sum(axis=1)
        return 1 + np.minimum(draws, len(plain) - 1)

    def _offset(self, known: dict, key: tuple[str, str], size: int, scale: float) -> np.ndarray:
        if key not in known:
            known[key] = scale * self.rng.standard_normal(size)
        return known[key]


def _prototypes() -> np.ndarray:
    """[classes, classes]: unit vectors, orthogonal but for the similar pairs."""
    prototypes = np.eye(len(CLASSES))
    for first, second in SIMILAR:
        i, j = CLASSES.index(first), CLASSES.index(second)
        prototypes[j, i], prototypes[j, j] = SIMILARITY, np.sqrt(1 - SIMILARITY**2)
    return prototypes


def _picture(latent: int, features: int, rng: np.random.Generator) -> np.ndarray:
    """[latent, features]: a random linear map whose outputs have about the size of its inputs."""
    return rng.standard_normal((latent, features)) / np.sqrt(latent)
