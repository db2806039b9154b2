"""`metrics/answer.md`: the verdicts as one paragraph of a paper, each number as the tables print it."""

import re

from stages.report import findings
from stages.report.material import Material
from stages.ttest.report import TESTS

SPECIAL = re.compile(r"([\\`*_|~$]|<(?=[A-Za-z/!?])|&(?=[#A-Za-z])|\](?=[(\[:]))")
"""What Markdown might take for more than text."""


def markdown(material: Material) -> str:
    """One paragraph: of self and cross, or where no such pair is compared, of all pairs."""
    settings, found = material.config.compare, findings.papers(material.findings) or material.findings
    pairs = len({(one.a, one.b) for one in material.findings})
    tests = " / ".join(TESTS[name] for name in dict.fromkeys(one.test for one in found if one.test == one.test))
    sentences = [material.warning] if material.warning else []
    sentences.append(
        f"On the corpus {material.meta.corpus} ({len(material.utterances):,} utterances, {_asked(material)}), "
        f"models were compared over {material.shape}."
    )
    if not found:
        return escape(" ".join([*sentences, "No pair of models was compared."])) + "\n"
    sentences.append(
        f"{tests or 'No test'}, α = {settings.alpha:g} after Holm's correction over {pairs} "
        f"pair{'s' if pairs > 1 else ''} of a metric, margin of equivalence ± {material.margin}."
    )
    for metric in settings.metrics:
        own = [one.sentence(settings) for one in found if one.score == metric]
        sentences.append(f"{findings.named(metric)}: {'; '.join(own)}.")
    return escape(" ".join(sentences)) + "\n"


def _asked(material: Material) -> str:
    """How many classes, or which dimensions."""
    task = material.task
    return f"{len(task.names)} classes" if task.kind == "classes" else findings.enumerated(task.names)


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))
