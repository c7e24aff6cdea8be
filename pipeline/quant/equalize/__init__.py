"""Float-preserving rewrites that make a Graph's ranges easier to quantize, one a module."""
