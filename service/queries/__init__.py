"""Questions to a finished job."""
