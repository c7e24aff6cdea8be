"""How integers are chosen: ranges, schemes, the Plan and its renderings."""
