-- A transition is written without touching its user's row: the number and the time of a user's last one are those of
-- his last entry in the log. What the row has of them is of entries that are no longer there (setting `history`), and
-- of what was written before.
CREATE VIEW tidegate.users_now AS
SELECT u.user_id, u.shard, u.known, greatest(u.seq, l.seq) AS seq,
       greatest(u.last_effective_at, l.effective_at) AS last_effective_at
FROM tidegate.users u
LEFT JOIN LATERAL (
    SELECT t.seq, t.effective_at FROM tidegate.transitions t WHERE t.user_id = u.user_id ORDER BY t.seq DESC LIMIT 1
) l ON true;
