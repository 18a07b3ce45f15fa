"""A small transformer, language model or classifier, whose depth can adapt to each token (Graves 2016; Banino et al. 2021)."""
