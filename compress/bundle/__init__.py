"""What is handed over: a folder that its receiver can check."""
