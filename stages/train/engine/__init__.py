"""How runs are spread over processes and machines, with checkpoints and progress: changes no result."""
