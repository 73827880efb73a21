/*
description: Gates over three windows, with text and boolean columns
*/
SELECT user_id FROM events GROUP BY user_id
HAVING (count(*) FILTER (WHERE lower(url) LIKE '%/checkout%' AND event_time > now() - INTERVAL '8 seconds') > 0
        OR count(*) FILTER (WHERE member AND event_time > now() - INTERVAL '3 seconds') > 1)
   AND NOT count(*) FILTER (WHERE event_type = 'purchase' AND event_time >= now() - INTERVAL '4 seconds') > 0
