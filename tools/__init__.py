"""Commands around the study: check its params, run stages in parallel, repair what a kill left."""
