/*
description: A window that loses an event exactly at its end
*/
SELECT user_id FROM events WHERE event_time > now() - INTERVAL '4 seconds' GROUP BY user_id
