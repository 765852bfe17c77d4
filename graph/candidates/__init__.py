"""What an outsider may zero, and copies of a model to find out what that costs."""
