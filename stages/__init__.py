"""The study's stages: each folder is one DVC stage, run as `python -m stages.<stage>`."""
