"""Why one user is in a segment or not, since when, and when that ends by time alone."""
