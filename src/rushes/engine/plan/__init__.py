"""What is wanted minus what is present."""
