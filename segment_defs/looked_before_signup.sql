/*
description: Looked at three products or more before signing up
owner: growth
tags: [behaviour, anchored]
*/
SELECT user_id
FROM events
GROUP BY user_id
HAVING count(*) FILTER (WHERE event_type = 'product_viewed'
                          AND event_time < (SELECT min(first.event_time)
                                            FROM events first
                                            WHERE first.user_id = events.user_id
                                              AND first.event_type = 'signup')) >= 3
