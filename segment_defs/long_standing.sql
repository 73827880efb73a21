/*
description: At least 90 days between the first and the latest event, and still seen within 30 days
owner: crm
tags: [recency]
*/
SELECT user_id
FROM events
GROUP BY user_id
HAVING max(event_time) - min(event_time) >= INTERVAL '90 days'
   AND max(event_time) >= now() - INTERVAL '30 days'
