"""References: models that cost no training, from the predictions of trained ones and from the classes' shares."""
