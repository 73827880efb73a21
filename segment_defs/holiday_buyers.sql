/*
description: Bought on the long weekend of Thanksgiving 2025 (US Pacific time)
owner: crm
tags: [calendar]
*/
SELECT user_id
FROM events
WHERE event_type = 'purchase'
  AND event_time >= TIMESTAMPTZ '2025-11-27 00:00:00-08'
  AND event_time < TIMESTAMPTZ '2025-12-01 00:00:00-08'
GROUP BY user_id
