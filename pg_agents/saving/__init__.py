"""Files that models and environments are kept in, and going on from them."""
