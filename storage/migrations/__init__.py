"""NNN_name.sql, applied in order and never changed once released; roles.sql, run after every migration."""
