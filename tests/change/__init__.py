"""`make proof-change`: definitions change under a live stream and kills; every switch against DuckDB."""
