"""`split`: utterances → `data/folds.csv`, the train, dev and test part of every fold."""
