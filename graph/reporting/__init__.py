"""What went and why, what could go, and what holds the rest."""
