"""Projection heads over frozen image and text embeddings: two modalities in one space, trained for retrieval across them."""
