/*
description: A formula over two windows
*/
SELECT user_id FROM events GROUP BY user_id
HAVING coalesce(sum(amount) FILTER (WHERE event_time > now() - INTERVAL '5 seconds'), 0)
     > 2 * coalesce(sum(amount) FILTER (WHERE event_time > now() - INTERVAL '10 seconds'
                                          AND event_time <= now() - INTERVAL '5 seconds'), 0)
