/*
description: Becomes true by time alone
*/
SELECT user_id FROM events WHERE event_type = 'purchase' GROUP BY user_id
HAVING max(event_time) <= now() - INTERVAL '7 seconds'
