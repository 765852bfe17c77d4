"""What `compress bench` measures and explains."""
