"""`features`: the utterances of `data/corpus/` → `data/features/<modality>/`, one ragged array a modality."""
