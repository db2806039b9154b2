"""Does the verdict on two models survive other choices: DVC experiments over them, and their specification curve."""
