"""Lowering: the same Graph and Plan as an integer TFLite file."""
