/*
description: NULL counted against what is not NULL
*/
SELECT user_id FROM events GROUP BY user_id
HAVING count(*) FILTER (WHERE region IS NULL AND event_time > now() - INTERVAL '7 seconds')
     > count(*) FILTER (WHERE region IS NOT NULL AND event_time > now() - INTERVAL '7 seconds')
