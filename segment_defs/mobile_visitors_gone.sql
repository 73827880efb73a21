/*
description: Viewed ten or more pages or products on mobile and has not been back for 7 days
owner: growth
tags: [recency, frequency]
*/
SELECT user_id
FROM events
GROUP BY user_id
HAVING count(*) FILTER (WHERE device_type = 'mobile' AND event_type IN ('page_viewed', 'product_viewed')) >= 10
   AND max(event_time) < now() - INTERVAL '7 days'
