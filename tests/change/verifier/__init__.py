"""Says whether every switch, and every plan, is what the definitions mean. Imports nothing of the engine."""
