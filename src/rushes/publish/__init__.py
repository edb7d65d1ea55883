"""Clips as others load them: tables of the lakehouse and formats for training, each kept up to date by what has changed."""
