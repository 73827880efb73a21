/*
description: Spent 500 or more within 30 days
owner: crm
tags: [spend]
*/
SELECT user_id
FROM events
WHERE event_type = 'purchase'
GROUP BY user_id
HAVING sum(amount) FILTER (WHERE event_time > now() - INTERVAL '30 days') >= 500
