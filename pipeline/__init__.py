"""From an image classifier's published weights to a `.synap` file, with its accuracy known at every step."""

__version__ = "0.1.0"
