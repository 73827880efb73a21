/*
description: Looks at more than twenty products for every purchase, and has looked this week
owner: merchandising
tags: [frequency]
*/
SELECT user_id
FROM events
GROUP BY user_id
HAVING count(*) FILTER (WHERE event_type = 'product_viewed')
     > 20 * count(*) FILTER (WHERE event_type = 'purchase')
   AND NOT max(event_time) FILTER (WHERE event_type = 'product_viewed') < now() - INTERVAL '1 week'
