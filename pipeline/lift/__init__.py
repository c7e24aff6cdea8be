"""Lifting, the way back from lowering: a float TFLite file as canonical Graph."""
