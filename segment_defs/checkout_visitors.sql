/*
description: Reached the checkout within the last hour, without a purchase in that time
owner: checkout
tags: [live, absence]
*/
SELECT user_id
FROM events
WHERE event_time > now() - INTERVAL '1 hour'
GROUP BY user_id
HAVING count(*) FILTER (WHERE lower(url) LIKE '%/checkout%') > 0
   AND count(*) FILTER (WHERE event_type = 'purchase') = 0
