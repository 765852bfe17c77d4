"""Step 0: the model as the compiler sees it."""
