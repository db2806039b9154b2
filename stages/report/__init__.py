"""`report`: the whole study as one page, its tables for LaTeX and its answer as a paragraph."""
