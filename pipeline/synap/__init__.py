"""The vendor's side: the metafile, the toolkit, and the `.synap` bundle that comes out of it."""
