/*
description: A count within a window
*/
SELECT user_id FROM events GROUP BY user_id
HAVING count(*) FILTER (WHERE event_type = 'view' AND event_time > now() - INTERVAL '6 seconds') >= 3
