"""Step 1: which elements are the same channel?"""
