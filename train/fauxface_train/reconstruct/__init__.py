"""Reconstructed faces: bona fide crops through small decoders, as generated ones of the same style."""
