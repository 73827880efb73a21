/*
description: Absence beside something that never ends
*/
SELECT user_id FROM events GROUP BY user_id
HAVING count(*) FILTER (WHERE member) > 0
   AND count(*) FILTER (WHERE event_type = 'purchase' AND event_time > now() - INTERVAL '9 seconds') = 0
