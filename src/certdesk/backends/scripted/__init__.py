"""The scripted CA: one that behaves as it is told, slow, refusing or broken. For tests and the demo only."""

from certdesk.backends.scripted.backend import ScriptedBackend
from certdesk.backends.scripted.config import DEMO_RULES, Behaviour, Revoking, Rule, ScriptedConfig

__all__ = ["DEMO_RULES", "Behaviour", "Revoking", "Rule", "ScriptedBackend", "ScriptedConfig"]
