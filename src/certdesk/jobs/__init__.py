"""Work in the background: the queue's worker, the handlers it calls, and the reconcile tick."""
