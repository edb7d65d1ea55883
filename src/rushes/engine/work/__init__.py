"""What jobs do. Nothing here knows where or by whom a job is run."""
