/*
description: The last visit before the first purchase was from a phone, at most a week before it
owner: mobile
tags: [device, anchored]
*/
WITH bought AS (
    SELECT user_id, min(event_time) AS first_time
    FROM events
    WHERE event_type = 'purchase'
    GROUP BY user_id
)
SELECT e.user_id
FROM events e
JOIN bought b USING (user_id)
WHERE e.event_type <> 'purchase'
  AND e.event_time BETWEEN b.first_time - INTERVAL '7 days' AND b.first_time
GROUP BY e.user_id
HAVING arg_max(e.device_type, e.event_time) = 'mobile'
