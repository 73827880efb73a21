/*
description: Put something into the cart within the last 30 minutes, without a purchase in that time
owner: checkout
tags: [live, absence]
*/
SELECT user_id
FROM events
WHERE event_time > now() - INTERVAL '30 minutes'
GROUP BY user_id
HAVING count(*) FILTER (WHERE event_type = 'add_to_cart') >= 1
   AND count(*) FILTER (WHERE event_type = 'purchase') = 0
