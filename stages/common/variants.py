"""The fusion mechanisms, and what a variant's name means.

A variant is a fusion mechanism on some modalities, named `<fusion>_<modalities>` with an option of the fusion at
the end: `cross_tv`, `self_tva_nosp`. A new mechanism is one file, `stages/train/fusions/<name>.py`, and one entry here,
at the end of `FUSIONS`: by default its colour and marker follow from its place. References are named alike, but are not
trained: `stages/references` makes them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from stages.common import fusion_settings, predictions
from stages.common.errors import UserError, short

COLOURS = ("#cc78bc", "#029e73", "#d55e00", "#949494")
MARKERS = ("P", "X", "*", "<", ">", "h", "p")
"""Those of fusions that name none, taken in turn: no two of 28 look alike, nor like one of those that name theirs."""


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """One fusion mechanism."""

    label: str
    """Its name in tables and figures."""
    source: str = ""
    """Where it comes from, or what it is, in a few words; its file says all."""
    at_least: int = 2
    """The fewest modalities that it is defined for."""
    at_most: int | None = None
    """The most; None: any number."""
    table: int = 1
    """The table of the paper in which it stands; those of Table 1 are in Table 2 too."""
    against: tuple[str, ...] = ()
    """The fusions that it is tested against by default, on the same modalities."""
    colour: str | None = None
    """Its colour in every figure, #rrggbb, told apart from the others' by all kinds of colour vision."""
    marker: str | None = None
    """Its marker in every figure, one of matplotlib's letters."""
    trained: bool = True
    """Whether it has weights; if not, it is a reference that `stages/references` makes."""
    parts: str | None = None
    """Of a reference: the fusion whose variants on single modalities it is made of; None: of none."""


FUSIONS = {
    "cross": Fusion(label="Cross", source="Rajan et al., ICASSP 2022", colour="#de8f05", marker="s"),
    "self": Fusion(
        label="Self", source="Rajan et al., ICASSP 2022", at_least=1, against=("cross",), colour="#0173b2", marker="o"
    ),
    "cross_nosp": Fusion(
        label="Cross-noSP",
        source="Rajan et al., ICASSP 2022",
        table=2,
        against=("cross",),
        colour="#ca9161",
        marker="^",
    ),
    "self_nosp": Fusion(
        label="Self-noSP",
        source="Rajan et al., ICASSP 2022",
        table=2,
        against=("cross_nosp", "self"),
        colour="#56b4e9",
        marker="v",
    ),
    "crossself": Fusion(
        label="Cross+Self",
        source="Rajan et al., ICASSP 2022",
        table=2,
        against=("self", "cross"),
        colour="#000000",
        marker="D",
    ),
    "concat": Fusion(label="Concat", source="the means, joined: no attention", against=("self", "cross")),
    "gate": Fusion(label="Gate", source="Lian et al. (MERBench), arXiv:2401.03429, 2024", against=("self", "cross")),
    "mdre": Fusion(label="MDRE", source="Yoon et al., SLT 2018", against=("self", "cross")),
    "mha": Fusion(label="MHA", source="Yoon et al., ICASSP 2019", at_most=2, against=("self", "cross")),
    "amh": Fusion(label="AMH", source="Yoon et al., ICASSP 2020", at_least=3, at_most=3, against=("self", "cross")),
    "cfn_sr": Fusion(label="CFN-SR", source="Fu et al., arXiv:2111.02172, 2021", at_most=2, against=("self", "cross")),
    "dca": Fusion(label="DCA", source="Praveen and Alam, ICME 2024", against=("self", "cross")),
    "self2": Fusion(label="Self ×2", source="control: self with cross's parameters", against=("self", "cross")),
    "cross_half": Fusion(
        label="Cross-shared", source="control: cross with self's parameters", against=("self", "cross")
    ),
    "mcsan": Fusion(label="MCSAN", source="Sun et al., ICASSP 2021", against=("self", "cross")),
    "mult": Fusion(label="MulT", source="Tsai et al., ACL 2019", against=("self", "cross")),
    "transformer": Fusion(
        label="Transformer", source="one layer over the steps of all modalities", against=("self", "cross")
    ),
    "lmf": Fusion(label="LMF", source="Liu et al., ACL 2018", against=("self", "cross")),
    "intermediate": Fusion(label="Intermediate", source="Chumachenko et al., ICPR 2022", against=("self", "cross")),
    "bottleneck": Fusion(label="Bottleneck", source="Nagrani et al., NeurIPS 2021", against=("self", "cross")),
    "late": Fusion(
        label="Late",
        source="mean of the probabilities of self on each modality",
        against=("self", "cross"),
        trained=False,
        parts="self",
    ),
    "majority": Fusion(
        label="Majority", source="the most frequent class", at_least=1, against=("self",), trained=False
    ),
    "prior": Fusion(
        label="Prior", source="a class drawn by the shares of the classes", at_least=1, against=("self",), trained=False
    ),
}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A variant's name, taken apart."""

    name: str
    fusion: str
    """A key of `FUSIONS`."""
    modalities: str
    """Their letters, in the order of `modalities` in params.yaml."""

    @property
    def label(self) -> str:
        """As people read it: `Cross T+V+A`."""
        return f"{FUSIONS[self.fusion].label} {combination_label(self.modalities)}"

    @property
    def trained(self) -> bool:
        """Whether it is trained, or a reference."""
        return FUSIONS[self.fusion].trained

    @property
    def parts(self) -> list[str]:
        """The names of the variants that a reference is made of, one a modality; none of other variants."""
        fusion = FUSIONS[self.fusion].parts
        return [f"{fusion}_{letter}" for letter in self.modalities] if fusion else []


def pairs(names: list[str]) -> list[tuple[str, str]]:
    """The pairs (a, b) of variants that their fusions' `against` names, in the order of `names`."""
    found = []
    for a in map(parse, names):
        for fusion in FUSIONS[a.fusion].against:
            b = named(fusion, a.modalities)
            if b in names:
                found.append((a.name, b))
    return found


def named(fusion: str, modalities: str) -> str:
    """The name of a fusion's variant: `cross_nosp` and `tva` are `cross_tva_nosp`."""
    base, _, option = fusion.partition("_")
    return "_".join(filter(None, (base, modalities, option)))


def look(fusion: str) -> tuple[str, str]:
    """Colour and marker of a fusion, the same whatever else is drawn or comes after it in `FUSIONS`."""
    own, place = FUSIONS[fusion], list(FUSIONS).index(fusion)
    return own.colour or COLOURS[place % len(COLOURS)], own.marker or MARKERS[place % len(MARKERS)]


def label(name: str) -> str:
    """A model as people read it: a variant by its label, another by its name."""
    try:
        return parse(name).label
    except ValueError:
        return name


def combination_label(modalities: str) -> str:
    """`tva` → `T+V+A`, as the paper writes it."""
    return "+".join(modalities.upper())


def combinations(names: Iterable[str], letters: str) -> list[str]:
    """The combinations of modalities of some variants, as the paper orders them: few first, then by `letters`."""
    found = {parse(name).modalities for name in names}
    return sorted(found, key=lambda own: (len(own), [letters.index(letter) for letter in own]))


def parse(name: str) -> Variant:
    """The variant that `name` stands for.

    Raises
    ------
    ValueError
        If the fusion or the modalities are not known, or the fusion needs more modalities; the message says which.
    """
    base, *rest = name.split("_", 2)
    fusion, modalities = "_".join([base, *rest[1:]]), "".join(rest[:1])
    if fusion not in FUSIONS:
        raise ValueError(
            f"{short(name)} must begin with a fusion mechanism and may end with its option, one of "
            f"{', '.join(FUSIONS)}, but {short(fusion)} is none"
        )
    if not re.fullmatch("[a-z]+", modalities) or len(set(modalities)) < len(modalities):
        raise ValueError(
            f"{short(name)} must name its modalities by different lower-case letters, but has {short(modalities)}"
        )
    fewest, most = FUSIONS[fusion].at_least, FUSIONS[fusion].at_most
    if len(modalities) < fewest:
        raise ValueError(f"{name!r}: {fusion} must have at least {fewest} modalities, but has {modalities!r}")
    if most is not None and len(modalities) > most:
        raise ValueError(f"{name!r}: {fusion} must have at most {most} modalities, but has {modalities!r}")
    return Variant(name=name, fusion=fusion, modalities=modalities)


def check() -> None:
    """Hold the registry against itself and against `stages/train/fusions/`, which is read but not run.

    Raises
    ------
    UserError
        If a name breaks the rule for names, a label stands twice, a fusion in `against` is not there, `trained` is
        not as `predictions.UNTRAINED` has it, or the file of one that is trained is missing or does not define its
        `build` (`fusion_settings.model`).
    """
    labels = [fusion.label for fusion in FUSIONS.values()]
    for name, fusion in FUSIONS.items():
        place = f"stages/common/variants.py: FUSIONS[{name!r}]"
        if not re.fullmatch("[a-z0-9]+(_[a-z0-9]+)?", name):
            raise UserError(f"{place}: a name must be lower-case letters and digits, then perhaps _ and an option")
        if labels.count(fusion.label) > 1:
            raise UserError(f"{place}: label must be its own, but {fusion.label!r} is another fusion's too")
        unknown = [other for other in fusion.against if other not in FUSIONS]
        if isinstance(fusion.against, str) or unknown or name in fusion.against:
            raise UserError(
                f"{place}: against must be a tuple of other fusions of {', '.join(FUSIONS)}, but is {fusion.against!r}"
            )
        if fusion.trained == (name in predictions.UNTRAINED):
            raise UserError(
                f"{place}: trained must be False for those of UNTRAINED in stages/common/predictions.py, "
                f"{', '.join(predictions.UNTRAINED)}, and True for others, but is {fusion.trained}"
            )
        if fusion.trained:
            fusion_settings.model(name)
