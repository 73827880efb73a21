/*
description: Californians (by their latest event) who have not bought for 30 days
owner: growth
tags: [absence, region]
*/
SELECT user_id
FROM events
GROUP BY user_id
HAVING arg_max(region, event_time) = 'California'
   AND count(*) FILTER (WHERE event_type = 'purchase' AND event_time > now() - INTERVAL '30 days') = 0
