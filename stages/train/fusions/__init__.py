"""The fusion mechanisms, one file each, and what they are made of."""
