/*
description: Minimum and maximum within a window
*/
SELECT user_id FROM events WHERE event_time > now() - INTERVAL '8 seconds' GROUP BY user_id
HAVING max(amount) >= 90 OR min(quantity) < 1
