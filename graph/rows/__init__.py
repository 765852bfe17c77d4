"""Rows: tokens, and whatever else a network treats one by one until something mixes them.

`settled` makes constants of sizes that never change, `trace` finds what is a row, `needs` who needs it if attention
looks at fewer, `plan` which rows are where, `remove` rewrites the model, and `masks` makes a copy that takes the choice
as an input.
"""
