/*
description: Last seen on the Pacific coast; neither logged in nor bought within 14 days
owner: growth
tags: [region, absence]
*/
SELECT user_id
FROM events
GROUP BY user_id
HAVING arg_max(region, event_time) IN ('California', 'Oregon', 'Washington')
   AND NOT (count(*) FILTER (WHERE event_type = 'login' AND event_time > now() - INTERVAL '14 days') > 0
            OR count(*) FILTER (WHERE event_type = 'purchase' AND event_time > now() - INTERVAL '14 days') > 0)
