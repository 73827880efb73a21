/*
description: A sum of decimals within a window
*/
SELECT user_id FROM events WHERE event_type = 'purchase' GROUP BY user_id
HAVING sum(amount) FILTER (WHERE event_time > now() - INTERVAL '10 seconds') >= 120
