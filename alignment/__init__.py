"""What a result is and what can be asked of it; numpy only."""
