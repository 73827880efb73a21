-- The stable surface for whoever types SQL: names and columns stay.

CREATE VIEW public.segments AS
SELECT s.name AS segment, s.description, s.owner, s.tags, s.enabled, s.version, s.sql,
       (SELECT coalesce(sum(c.members), 0)::bigint FROM tidegate.member_counts c WHERE c.segment_id = s.id) AS members,
       s.updated_at, s.state
FROM tidegate.definitions s
WHERE s.state <> 'removed'
ORDER BY s.name;
COMMENT ON VIEW public.segments IS 'Tidegate: every segment, its definition and its number of members';

CREATE VIEW public.segment_members AS
SELECT s.name AS segment, m.user_id, m.since
FROM tidegate.members m
JOIN tidegate.definitions s ON s.id = m.segment_id;
COMMENT ON VIEW public.segment_members IS 'Tidegate: who is in which segment now, and since when';

CREATE VIEW public.segment_transitions AS
SELECT t.user_id, t.seq, s.name AS segment, t.entered, t.effective_at, t.version, t.cause, t.recorded_at, t.shard
FROM tidegate.transitions t
JOIN tidegate.definitions s ON s.id = t.segment_id;
COMMENT ON VIEW public.segment_transitions IS
    'Tidegate: every entry and exit, once; (user_id, seq) is one step of one user, seq has no gaps';
