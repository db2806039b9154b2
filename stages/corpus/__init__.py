"""`corpus`: a corpus → `data/corpus/`, the one list of its utterances that the later stages read."""
