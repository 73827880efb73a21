/*
description: Has bought before, but not for 30 days
owner: crm
tags: [recency, absence]
*/
SELECT user_id
FROM events
WHERE event_type = 'purchase'
GROUP BY user_id
HAVING now() - max(event_time) > INTERVAL '30 days'
