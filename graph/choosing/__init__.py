"""Steps 3 and 4: who needs a channel, and what may go?"""
