"""What is known of a scanned video and its clips, as rows of the tables."""
