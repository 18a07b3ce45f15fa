"""Networks and layers that two or more models use. A model's own stay in models/<name>/model.py."""
