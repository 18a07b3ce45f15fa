"""A trained network of another model, compressed: what is lost in accuracy, and what is gained in storage and speed."""
