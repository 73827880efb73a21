/*
description: The same with >=, it loses an event one microsecond later
*/
SELECT user_id FROM events WHERE event_time >= now() - INTERVAL '4 seconds' GROUP BY user_id
