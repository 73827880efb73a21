/*
description: Looked at five or more products within two minutes
owner: growth
tags: [frequency, live]
*/
SELECT user_id
FROM events
GROUP BY user_id
HAVING count(*) FILTER (WHERE event_type = 'product_viewed' AND event_time > now() - INTERVAL '2 minutes') >= 5
