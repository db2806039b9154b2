"""What a study's models predict of an utterance: one of the corpus's classes, or values of dimensions such as valence.

Tables of predictions have the columns actual and predicted for classes, with a `probability_<class>` for each; for
dimensions `actual_<dimension>` and `predicted_<dimension>` for each, numbers on the corpus's scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.common.corpus import Meta
from stages.common.errors import UserError
from stages.common.plan import TaskKind


@dataclass(frozen=True, kw_only=True)
class Task:
    """A kind of task, and what it is about."""

    kind: TaskKind
    names: list[str]
    """The classes in the order of their labels, or the dimensions in the corpus's order."""

    @property
    def columns(self) -> list[str]:
        """The columns of a table of predictions after fold and utterance_id."""
        if self.kind == "classes":
            return ["actual", "predicted", *(f"probability_{name}" for name in self.names)]
        return [*self.actual, *self.predicted]

    @property
    def actual(self) -> list[str]:
        """The columns of what is true."""
        return ["actual"] if self.kind == "classes" else [f"actual_{name}" for name in self.names]

    @property
    def predicted(self) -> list[str]:
        """The columns of what is predicted."""
        return ["predicted"] if self.kind == "classes" else [f"predicted_{name}" for name in self.names]

    @property
    def details(self) -> list[str]:
        """The names of the scores of single classes or dimensions: `recall_<class>` or `ccc_<dimension>`."""
        return [f"{'recall' if self.kind == 'classes' else 'ccc'}_{name}" for name in self.names]


def classes(names: Sequence[str]) -> Task:
    """To tell these classes apart."""
    return Task(kind="classes", names=list(names))


def dimensions(names: Sequence[str]) -> Task:
    """To predict the values of these dimensions."""
    return Task(kind="dimensions", names=list(names))


def of(kind: TaskKind, meta: Meta) -> Task:
    """The task of this kind on a corpus.

    Raises
    ------
    UserError
        If the corpus has no dimensions, where these are the task.
    """
    if kind == "classes":
        return classes(meta.classes)
    if not meta.dimensions:
        raise UserError(
            f"task must be classes for a corpus without values of valence, activation or dominance, such as "
            f"{meta.corpus}, but is dimensions"
        )
    return dimensions(meta.dimensions)
