/*
description: A gate of presence and absence over a population that comes and goes
*/
SELECT user_id FROM events WHERE event_time > now() - INTERVAL '10 seconds' GROUP BY user_id
HAVING count(*) FILTER (WHERE event_type = 'cart') >= 1
   AND count(*) FILTER (WHERE event_type = 'purchase') = 0
