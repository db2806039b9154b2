"""The compiled CPU loops."""
