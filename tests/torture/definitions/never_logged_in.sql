/*
description: True for every new user until he logs in, and again later
*/
SELECT user_id FROM events GROUP BY user_id
HAVING count(*) FILTER (WHERE event_type = 'login' AND event_time > now() - INTERVAL '9 seconds') = 0
