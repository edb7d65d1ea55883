"""Scores of clips by models, from stored frames and from the embeddings of frames."""
