"""The portal: thin edges. A view parses what came, calls one service, and renders.

Nothing is decided here, and no state is written but through `certdesk.services`.
"""
