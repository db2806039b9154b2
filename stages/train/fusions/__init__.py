"""The fusion mechanisms, one file each: encodings of some modalities → one vector an utterance.

A file `<name>.py` defines `build(modalities, width, *, settings …)`, which returns a module with a `size` that maps
`Encodings` to [R, B, size], for R runs at once: `layers.py` has its `Linear` and `Dropout`. The keyword-only arguments
are its settings in `params.yaml`. `attention.py`, `pairwise.py` and `pooling.py` are what the paper's are made of,
`steps.py` and `transformer_layers.py` what other systems' are.
"""
