"""Artifacts on images: here or elsewhere, as far as a verdict takes, and what that says of a stage."""
