"""From SQL files to a plan: parse, bind to the schema, lower."""
