/*
description: Came first on a desktop and last on a mobile device
owner: product
tags: [device]
*/
SELECT user_id
FROM events
GROUP BY user_id
HAVING arg_min(device_type, event_time) = 'desktop'
   AND arg_max(device_type, event_time) = 'mobile'
