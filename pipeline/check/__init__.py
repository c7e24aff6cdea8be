"""What a step cost in accuracy: metrics (arithmetic), gate (statistics), judge (the verdict)."""
