"""The commands: a file each, from its options to what it calls and shows."""
