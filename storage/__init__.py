"""What outlives a process: rows, bytes, and the wake-up messages between the parts."""
