/*
description: Anybody who did anything within the last minute
owner: growth
tags: [recency, live]
*/
SELECT user_id
FROM events
WHERE event_time > now() - INTERVAL '60 seconds'
GROUP BY user_id
