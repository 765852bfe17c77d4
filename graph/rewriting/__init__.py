"""Step 5: the model without what may go."""
