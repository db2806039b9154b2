"""`plots/report.html`: the sections as one file that asks for nothing else."""

import jinja2

from stages.report.material import Material
from stages.report.sections import SECTIONS


def html(material: Material) -> str:
    """The whole page."""
    found = [section for section in (write(material) for write in SECTIONS) if section]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("stages.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html").render(
        sections=found,
        corpus=material.meta.corpus,
        warning=material.warning,
        shape=material.shape,
        letters=material.letters,
    )
