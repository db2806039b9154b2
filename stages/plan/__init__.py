"""`plan`: params → checked, and what each variant's trainings depend on: `data/plans/<variant>.json`."""
