"""More than one vantage point (BR 3.2.2.9): a perspective to be asked, and the coordinator that asks.

Both speak Open MPIC's REST schema, so that either may be somebody else's. Off unless perspectives are
configured. Nothing that one perspective finds is told to another.
"""
