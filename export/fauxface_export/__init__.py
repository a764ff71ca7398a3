"""The export stage: a trained checkpoint becomes a bundle, and parity proves that nothing was lost."""
