/*
description: Signed up within the last 24 hours
owner: growth
tags: [recency]
*/
SELECT user_id
FROM events
GROUP BY user_id
HAVING count(*) FILTER (WHERE event_type = 'signup' AND event_time >= now() - INTERVAL '24 hours') > 0
