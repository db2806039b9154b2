"""`predict`: what trained models say of an utterance that is given on the command line; no stage of the pipeline."""
