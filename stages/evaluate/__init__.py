"""`evaluate`: trained variants under changed inputs: without interactions, without a modality, with noise."""
