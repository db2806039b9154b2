"""What several stages use: params, the registry of variants, readers and writers, scores, tables, figures."""
