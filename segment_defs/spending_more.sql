/*
description: Spent more than twice as much in the last 7 days as in the 7 days before
owner: analytics
tags: [spend, trend]
*/
SELECT user_id
FROM events
WHERE event_type = 'purchase'
GROUP BY user_id
HAVING coalesce(sum(amount) FILTER (WHERE event_time > now() - INTERVAL '7 days'), 0)
     > 2 * coalesce(sum(amount) FILTER (WHERE event_time > now() - INTERVAL '14 days'
                                          AND event_time <= now() - INTERVAL '7 days'), 0)
