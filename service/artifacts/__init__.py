"""What a job has made."""
