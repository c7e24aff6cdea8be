"""Images: where they come from, which are used for what, and what a model sees of them."""
