"""The nearest clips to a text, a picture or another clip, by the vectors that the scorer `embedding` has stored."""
