"""A model on a real board: its logits and times, over the system's own OpenSSH client."""
