"""Do two files agree, and if not, where do they part?"""
