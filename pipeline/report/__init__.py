"""How results are shown: the terminal, report.json."""
